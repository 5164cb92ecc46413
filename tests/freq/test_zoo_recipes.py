import torch
from torch import nn

from paperlib.freq.zoo_recipes import mixed


def test_mixed_labels_say_what_the_images_are_mixed_of():
    labels = torch.arange(10)
    x = (labels / 10).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        images, shares = mixed(nn.Identity(), x, labels)
    torch.testing.assert_close(shares.sum(1), torch.ones(10))
    torch.testing.assert_close(images[:, 0, 0, 0], shares @ (labels / 10))
    assert ((shares > 0).sum(1) == 2).any()
