import jaxtyping
import matplotlib.pyplot as plt
import pytest


@pytest.fixture
def unchecked():
    """Signatures are not checked, as for a user: what is wrong reaches our own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def figures_closed():
    """No figure that a test drew is open in the next one."""
    yield
    plt.close("all")
