"""What OpenSSL says of files and handshakes -> what that means here, by the keys of the configuration."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Keys:
    """How the configuration calls what a client shows and believes, for sentences."""

    address: str
    authority: str
    certificate: str
    key: str
    password: str
    protocol: str


# In place of a key for a password, where there is none.
NOT_LOCKED = "one that is not"
# The first that fits; repeating helps none of these.
_MEANINGS = (
    ("(?i)certificate is not valid for|hostname mismatch|ip address mismatch",
     "the certificate that it shows is of another host; name that one in {address}, or make one that names this host"),
    ("certificate has expired", "the certificate that it shows has expired; it needs a new one"),
    ("certificate is not yet valid", "the certificate that it shows is not valid yet; is a clock wrong?"),
    ("CERTIFICATE_VERIFY_FAILED", "the certificate that it shows is signed by none of {authority}"),
    ("(?i)alert.*certificate.?required", "it wants a client certificate; give {certificate} and {key}"),
    ("(?i)alert.*certificate.?expired", "it says that the certificate in {certificate} has expired"),
    ("(?i)alert.*(certificate|unknown.?ca)",
     "it does not accept the client certificate in {certificate}, or wants one and is shown none"),
    ("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST", "it does not speak TLS; see {protocol}"),
)  # fmt: skip


def meaning(said: str, keys: Keys) -> str | None:
    """Of a handshake's failure that repeating cannot help; None: it may be another one."""
    return next((told.format(**_names(keys)) for pattern, told in _MEANINGS if re.search(pattern, said)), None)


def _names(keys: Keys) -> dict[str, str]:
    return {name: getattr(keys, name) for name in Keys.__slots__}


def ensure_files(
    keys: Keys, authority: str | None, certificate: str | None, key: str | None, password: str | None
) -> None:
    """Looks at the files before any server is asked.

    Raises:
        ConfigError: one is not there or does not fit, with the remedy.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, path in ((keys.authority, authority), (keys.certificate, certificate), (keys.key, key)):
        if path and not Path(path).is_file():
            raise ConfigError(f"{name} = {path!r}: no such file")
    try:
        if authority:
            context.load_verify_locations(authority)
    except OSError as error:
        told = f"holds no certificate that can be read ({error})"
        raise ConfigError(f"{keys.authority} = {authority!r}: {told}") from error
    try:
        if certificate:
            # Without a password OpenSSL asks for one at the terminal, and waits there.
            context.load_cert_chain(certificate, key, password or "")
    except OSError as error:
        raise ConfigError(_of_a_pair(keys, certificate or "", key or certificate or "", password, error)) from error


def _of_a_pair(keys: Keys, certificate: str, key: str, password: str | None, error: OSError) -> str:
    if "MISMATCH" in str(error):
        return f"{keys.key} = {key!r}: is not the key of {keys.certificate} = {certificate!r}"
    if "ENCRYPTED" in Path(key).read_text(encoding="utf-8", errors="replace"):
        told = f"{keys.password} does not open it" if password else f"give {keys.password}"
        return f"{keys.key} = {key!r}: is locked; {told}"
    return f"{keys.key} = {key!r} or {keys.certificate} = {certificate!r}: cannot be read ({error}); both are PEM files"
