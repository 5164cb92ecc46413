import pytest
import scipy.fft
import torch

from paperlib.freq.dct import dct2, dct_matrix, idct2

SIZES = [(1, 1), (2, 3), (7, 7), (8, 5), (31, 32), (32, 32), (63, 17)]


@pytest.fixture(params=SIZES, ids=str)
def x(request):
    return torch.randn(2, 3, *request.param, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str
)
def test_equals_scipy(x, dtype, tolerance):
    x = x.to(dtype)
    expected = scipy.fft.dctn(x.numpy(), type=2, norm="ortho", axes=(-2, -1))
    X = dct2(x)
    assert X.dtype == dtype
    torch.testing.assert_close(X, torch.from_numpy(expected), atol=tolerance, rtol=tolerance)
    back = scipy.fft.idctn(x.numpy(), type=2, norm="ortho", axes=(-2, -1))
    torch.testing.assert_close(idct2(x), torch.from_numpy(back), atol=tolerance, rtol=tolerance)


def test_round_trip(x):
    torch.testing.assert_close(idct2(dct2(x)), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dct2(idct2(x)), x, atol=1e-5, rtol=1e-5)


def test_parseval(x):
    energy = (x**2).sum((-2, -1))
    torch.testing.assert_close((dct2(x) ** 2).sum((-2, -1)), energy, atol=1e-4, rtol=1e-5)


def test_any_leading_axes():
    x = torch.rand(2, 3, 4, 8, 8)
    torch.testing.assert_close(dct2(x)[1, 2, 3], dct2(x[1, 2, 3]))


def test_constant_image_has_one_coefficient():
    X = dct2(torch.full((32, 32), 0.5))
    assert X[0, 0] == pytest.approx(0.5 * 32)
    assert X.abs().sum() - X[0, 0] < 1e-3


@pytest.mark.parametrize("transform", [dct2, idct2])
def test_autograd_passes_through(transform):
    x = torch.rand(2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(transform, x)


def test_basis_is_orthogonal_and_not_shared():
    dct_matrix(9, torch.float64).zero_()  # a copy: the cached basis stays as it is
    C = dct_matrix(9, torch.float64)
    torch.testing.assert_close(C @ C.T, torch.eye(9, dtype=torch.float64))
