"""Certificates: who may be what, whose keys can be read, and that nothing is overwritten."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from paperlib.pedsam.remote.certificates import is_loopback, main, make_certificates, read_identity


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def extension(cert, kind):
    return cert.extensions.get_extension_for_class(kind).value


def test_names_purposes_and_authority(tmp_path):
    made = make_certificates(tmp_path, ["192.0.2.7", "gpu.example", "::1"], ["edge"], days=7)
    assert [place.name for place in made] == ["192.0.2.7", "gpu.example", "__1", "edge"]
    authority = certificate(tmp_path / "ca.pem")
    assert extension(authority, x509.BasicConstraints).ca
    for place, kind, name, purpose in [
        (made[0], "server", ipaddress.ip_address("192.0.2.7"), ExtendedKeyUsageOID.SERVER_AUTH),
        (made[1], "server", "gpu.example", ExtendedKeyUsageOID.SERVER_AUTH),
        (made[2], "server", ipaddress.ip_address("::1"), ExtendedKeyUsageOID.SERVER_AUTH),
        (made[3], "client", "edge", ExtendedKeyUsageOID.CLIENT_AUTH),
    ]:
        cert = certificate(place / f"{kind}.pem")
        cert.verify_directly_issued_by(authority)
        assert not extension(cert, x509.BasicConstraints).ca
        assert list(extension(cert, x509.ExtendedKeyUsage)) == [purpose]
        assert [n.value for n in extension(cert, x509.SubjectAlternativeName)] == [name]
        length = cert.not_valid_after_utc - cert.not_valid_before_utc
        assert datetime.timedelta(days=7) <= length < datetime.timedelta(days=8)
        assert read_identity(place, kind).authority == (tmp_path / "ca.pem").read_bytes()


def test_keys_are_their_owners_alone(tmp_path):
    make_certificates(tmp_path, ["localhost"], ["edge"])
    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) == 3
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert not list((tmp_path / "servers").rglob("ca.key"))


def test_the_authority_is_used_again_and_nothing_is_overwritten(tmp_path):
    make_certificates(tmp_path, ["localhost"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    make_certificates(tmp_path, [], ["edge"])
    certificate(tmp_path / "clients/edge/client.pem").verify_directly_issued_by(
        certificate(tmp_path / "ca.pem")
    )
    with pytest.raises(FileExistsError, match="servers/localhost exists"):
        make_certificates(tmp_path, ["other", "localhost"])
    assert not (tmp_path / "servers/other").exists()
    assert all(path.read_bytes() == content for path, content in before.items())


def test_half_an_authority_is_refused(tmp_path):
    make_certificates(tmp_path, ["localhost"])
    (tmp_path / "ca.key").unlink()
    with pytest.raises(ValueError, match="lacks ca.key"):
        make_certificates(tmp_path, ["other"])
    make_certificates(tmp_path / "second", ["localhost"])
    (tmp_path / "ca.key").write_bytes((tmp_path / "second/ca.key").read_bytes())
    with pytest.raises(ValueError, match="does not belong"):
        make_certificates(tmp_path, ["other"])


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "-a", "a b"])
def test_names_that_are_paths_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="valid are host names"):
        make_certificates(tmp_path, [name])
    assert not list(tmp_path.iterdir())


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="lacks ca.pem, client.pem, client.key: `python"):
        read_identity(tmp_path, "client")


def test_the_command(tmp_path, capsys):
    main(["--folder", str(tmp_path), "--server", "a.example", "127.0.0.1", "--client", "edge"])
    assert capsys.readouterr().out.split() == [
        *(str(tmp_path / "servers" / name) for name in ("a.example", "127.0.0.1")),
        str(tmp_path / "clients/edge"),
    ]
    with pytest.raises(SystemExit):
        main(["--folder", str(tmp_path), "--client", "edge"])
    assert "remove it to have new certificates" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--folder", str(tmp_path)])
    assert "nothing to make" in capsys.readouterr().err


def test_loopback():
    assert all(map(is_loopback, ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"]))
    others = ["0.0.0.0:1", "192.0.2.7:1", "[::]:1", "127.example.com:1", "example.com:1", ":1"]
    assert not any(map(is_loopback, others))


@pytest.fixture
def server(tmp_path):
    return make_certificates(tmp_path / "own", ["localhost"])[0]


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [
        (-9, -1, "server.pem has expired on .*: make a new one"),
        (1, 9, "server.pem is valid from .* UTC on"),
        (-1, 4000, "server.pem outlives its authority"),
    ],
)
def test_what_is_out_of_date_is_refused(server, redated, begins, ends, words):
    redated(server, "server", begins, ends)
    with pytest.raises(ValueError, match=words):
        read_identity(server, "server")


def test_what_does_not_belong_together_is_refused(server, tmp_path):
    other = make_certificates(tmp_path / "other", ["localhost"])[0]
    for name, words in [
        ("server.key", "server.key does not belong to server.pem"),
        ("ca.pem", "server.pem is not of the authority in ca.pem"),
    ]:
        content = (server / name).read_bytes()
        (server / name).write_bytes((other / name).read_bytes())
        with pytest.raises(ValueError, match=words):
            read_identity(server, "server")
        (server / name).write_bytes(content)
    (server / "server.pem").write_bytes(b"no certificate")
    with pytest.raises(ValueError, match="not PEM that can be read"):
        read_identity(server, "server")


def test_no_certificate_is_made_to_outlive_its_authority(tmp_path):
    with pytest.raises(ValueError, match="days=4000: the authority itself ends on"):
        make_certificates(tmp_path, ["localhost"], days=4000)
    assert not (tmp_path / "servers").exists()


def test_an_expiry_is_said_a_month_before(server, redated):
    assert read_identity(server, "server").warning() == ""
    redated(server, "server", -300, 29)
    assert read_identity(server, "server").warning().startswith("certificate expires on 20")
