r"""Certificates for mutual TLS between the edge and its servers, from a private authority.

    python -m paperlib.pedsam.remote.certificates --folder certificates \
        --server 192.0.2.7 --client edge

    certificates/ca.pem, ca.key              the authority; the key never leaves this machine
    certificates/servers/192.0.2.7/          what goes to that host: ca.pem, server.pem, server.key
    certificates/clients/edge/               what goes to the edge: ca.pem, client.pem, client.key

A second call with the same folder uses its authority again. No file is ever overwritten. Keys are
readable by their owner only. Both sides check what they have before they use it, so that an error
says what is wrong instead of a handshake that fails.
"""

import argparse
import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
WARNING = datetime.timedelta(days=30)  # before a certificate expires
PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
KEY_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True)
class Authority:
    """A private certificate authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    """What one side of a connection shows and trusts, each as PEM, and when that ends."""

    authority: bytes
    certificate: bytes
    key: bytes
    until: datetime.datetime

    def warning(self) -> str:
        """That it expires soon; empty if it does not."""
        left = self.until - datetime.datetime.now(datetime.UTC)
        return f"certificate expires on {self.until:%Y-%m-%d}" if left < WARNING else ""


def make_certificates(
    folder: Path, servers: Sequence[str] = (), clients: Sequence[str] = (), days: int = 365
) -> list[Path]:
    """Make the authority, if `folder` has none, and a folder for each server and client.

    Args:
        folder: of the authority.
        servers: host names or IP addresses under which the edge reaches them.
        clients: names of edge devices.
        days: that server and client certificates are valid.

    Returns:
        The folders that were made for servers and clients.

    Raises:
        FileExistsError: one of them has a certificate; nothing is made then.
        ValueError: a name that cannot stand in a certificate and a path, or `days` below 1; the
            authority's certificate and key do not belong together; it ends before the
            certificates would.
    """
    if days < 1:
        raise ValueError(f"days={days}: whole numbers from 1 are valid")
    wanted = {
        folder / f"{kind}s" / _folder_name(name): (kind, name)
        for kind, names in (("server", servers), ("client", clients))
        for name in names
    }
    for place in wanted:
        if place.exists():
            raise FileExistsError(f"{place} exists: remove it to have new certificates made")
    authority = _authority(folder)
    ends = authority.certificate.not_valid_after_utc
    if datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days) > ends:
        raise ValueError(f"days={days}: the authority itself ends on {ends:%Y-%m-%d}")
    pem = authority.certificate.public_bytes(serialization.Encoding.PEM)
    for place, (kind, name) in wanted.items():
        certificate, key = _issue(authority, kind, name, days)
        place.mkdir(parents=True, mode=0o700)
        _write(place / "ca.pem", pem)
        _write(place / f"{kind}.pem", certificate)
        _write(place / f"{kind}.key", key, private=True)
    return list(wanted)


def read_identity(folder: Path, kind: str) -> Identity:
    r"""Certificates of a server's or a client's folder.

    Args:
        folder: as `make_certificates` made it.
        kind: server or client.

    Raises:
        FileNotFoundError: a file is missing; with the command that makes it.
        ValueError: they cannot be read, do not belong together, have expired, are not valid yet,
            or outlive their authority.
    """
    paths = [folder / "ca.pem", folder / f"{kind}.pem", folder / f"{kind}.key"]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}: `python -m paperlib.pedsam.remote.certificates "
            f"--folder DIR --{kind} NAME` makes them in DIR/{kind}s/NAME"
        )
    contents = [path.read_bytes() for path in paths]
    return Identity(*contents, _checked(folder, kind, *contents))


def _checked(
    folder: Path, kind: str, authority: bytes, certificate: bytes, key: bytes
) -> datetime.datetime:
    """When a certificate ends.

    Raises:
        ValueError: see `read_identity`.
    """
    place = folder / f"{kind}.pem"
    try:
        issuer, own = map(x509.load_pem_x509_certificate, (authority, certificate))
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        raise ValueError(f"{place}, {kind}.key or ca.pem: not PEM that can be read") from None
    if own.public_key() != private.public_key():
        raise ValueError(f"{folder / kind}.key does not belong to {kind}.pem")
    try:
        own.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise ValueError(f"{place} is not of the authority in ca.pem beside it") from None
    now = datetime.datetime.now(datetime.UTC)
    for path, each in ((folder / "ca.pem", issuer), (place, own)):
        begins, ends = each.not_valid_before_utc, each.not_valid_after_utc
        if ends < now:
            raise ValueError(f"{path} has expired on {ends:%Y-%m-%d}: make a new one")
        if begins > now:
            raise ValueError(f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC on: is it later?")
    if own.not_valid_after_utc > issuer.not_valid_after_utc:
        raise ValueError(f"{place} outlives its authority: make a new one")
    return own.not_valid_after_utc


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT never leaves the machine; any name but localhost might."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:_-]{0,62}[A-Za-z0-9])?|::1?", name):
        raise ValueError(f"name {name!r}: valid are host names, IP addresses and plain words")
    return name.replace(":", "_")


def _authority(folder: Path) -> Authority:
    """The folder's authority, made if neither of its files is there."""
    certificate_path, key_path = folder / "ca.pem", folder / "ca.key"
    if not certificate_path.exists() and not key_path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = _make_authority()
        _write(key_path, _private_pem(authority.key), private=True)
        _write(certificate_path, authority.certificate.public_bytes(serialization.Encoding.PEM))
        return authority
    missing = [path.name for path in (certificate_path, key_path) if not path.exists()]
    if missing:
        raise ValueError(f"{folder} lacks {missing[0]}: the authority needs both of its files")
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    if certificate.public_key() != key.public_key():
        raise ValueError(f"{key_path} does not belong to {certificate_path}")
    return Authority(certificate, key)


def _make_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(_sign("PED-SAM private authority", key, AUTHORITY_DAYS, (), None), key)


def _issue(authority: Authority, kind: str, name: str, days: int) -> tuple[bytes, bytes]:
    """Certificate and key of a server or client, as PEM."""
    key, issuer = ec.generate_private_key(ec.SECP256R1()), authority.key.public_key()
    extensions = (
        x509.ExtendedKeyUsage([PURPOSES[kind]]),
        x509.SubjectAlternativeName([_alternative(name)]),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer),
    )
    certificate = _sign(name, key, days, extensions, authority)
    return certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key)


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    days: int,
    extensions: Sequence[x509.ExtensionType],
    authority: Authority | None,
) -> x509.Certificate:
    """A certificate of `key`: by an authority, or, without one, an authority's own."""
    now, public, own = datetime.datetime.now(datetime.UTC), key.public_key(), authority is None
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = subject if own else authority.certificate.subject
    builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    uses = {"key_cert_sign": own, "crl_sign": own, "digital_signature": not own}
    critical = (
        x509.BasicConstraints(ca=own, path_length=0 if own else None),
        x509.KeyUsage(**dict.fromkeys(KEY_USES, False) | uses),
    )
    for extension in (x509.SubjectKeyIdentifier.from_public_key(public), *critical, *extensions):
        builder = builder.add_extension(extension, critical=extension in critical)
    return builder.sign(key if own else authority.key, hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, private: bool = False) -> None:
    """Write a file that must not exist; a private one is never readable by others."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600 if private else 0o644), "wb") as file:
        file.write(content)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what the command line asks for and print the folders."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.pedsam.remote.certificates",
        description="Make a private authority and certificates for servers and edge devices.",
    )
    parser.add_argument("--folder", type=Path, required=True, help="of the authority")
    many = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument("--server", metavar="HOST", help="names or IP addresses", **many)
    parser.add_argument("--client", metavar="NAME", help="names of edge devices", **many)
    parser.add_argument("--days", type=int, default=365, help="of validity (default: 365)")
    options = parser.parse_args(arguments)
    if not options.server and not options.client:
        parser.error("nothing to make: give --server HOST or --client NAME")
    try:
        made = make_certificates(options.folder, options.server, options.client, options.days)
    except (FileExistsError, ValueError) as error:
        parser.error(str(error))
    for place in made:
        print(place)


if __name__ == "__main__":
    main()
