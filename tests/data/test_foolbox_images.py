from paperlib.data.foolbox_images import foolbox_cifar10


def test_they_are_the_first_of_the_test_split():
    data = foolbox_cifar10()
    assert data.images.shape == (20, 3, 32, 32) and data.altered == ""
    names = [data.classes[label] for label in data.labels[:6]]
    assert names == ["cat", "ship", "ship", "airplane", "frog", "frog"]
