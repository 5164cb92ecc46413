import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """Signatures are not checked, as for a user: what is wrong reaches our own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
