"""The keys of a repository, and how a passphrase or a key file opens them."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quiesce.errors import DamagedArtifactError, UsageError, WrongKeyError
from quiesce.model.ids import Json

KEY_BYTES: Final = 32
ID_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_FILE_PREFIX: Final = "quiesce-key-1 "
#: what a repository may ask of us before we know that it is ours
_MOST_WORK: Final = 2**17
_SCRYPT_R: Final = 8


@dataclass(frozen=True, slots=True)
class Keys:
    """What a repository is read and written with. Never shown, never stored as it is."""

    #: which repository, in the clear in its config
    repository: bytes
    master: bytes = field(repr=False)
    #: shared by repositories that points are copied between, so that addresses are the same there
    addressing: bytes = field(repr=False)

    @classmethod
    def new(cls, addressing: bytes | None = None) -> Keys:
        """Return the keys of a new repository."""
        return cls(os.urandom(ID_BYTES), os.urandom(KEY_BYTES), addressing or os.urandom(KEY_BYTES))

    def derived(self, purpose: bytes, context: bytes = b"") -> bytes:
        """Return the key for one *purpose* (at most 16 bytes)."""
        return _keyed(self.master, purpose, self.repository + context)

    def mac(self, data: bytes) -> str:
        """Return what proves that somebody with these keys wrote *data*, which is no secret."""
        return self.derived(b"quiesce mac", data).hex()

    def accepts(self, data: bytes, mac: str) -> bool:
        """Tell whether *mac* is that of *data*."""
        return hmac.compare_digest(self.mac(data), mac)


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Opens a repository by something that a person knows."""

    secret: str = field(repr=False)
    #: scrypt's N: what a guess costs whoever has the repository
    work: int = 2**17

    kind = "passphrase"

    def key(self, salt: bytes, work: int) -> bytes:
        """Return the key that wraps the repository's."""
        return hashlib.scrypt(
            self.secret.encode(),
            salt=salt,
            n=work,
            r=_SCRYPT_R,
            p=1,
            maxmem=2 * 128 * _SCRYPT_R * work,
            dklen=32,
        )


@dataclass(frozen=True, slots=True)
class FileKey:
    """Opens a repository by the content of a key file."""

    secret: bytes = field(repr=False)
    work: int = 1

    kind = "file"

    @classmethod
    def new(cls) -> FileKey:
        """Return a new one."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def of_text(cls, text: str) -> FileKey:
        """Read what `as_text` wrote.

        Raises:
            UsageError: when it is no key file's text.
        """
        prefix, secret = text[: len(_FILE_PREFIX)], text[len(_FILE_PREFIX) :].strip()
        try:
            if prefix != _FILE_PREFIX or len(secret) != 2 * KEY_BYTES:
                raise ValueError
            return cls(bytes.fromhex(secret))
        except ValueError:
            raise UsageError("this is no key file of a repository") from None

    def as_text(self) -> str:
        """Return the content of the key file: one line."""
        return f"{_FILE_PREFIX}{self.secret.hex()}\n"

    def key(self, salt: bytes, work: int) -> bytes:
        """Return the key that wraps the repository's."""
        del work
        return _keyed(self.secret, b"quiesce keyfile", salt)


Credential: TypeAlias = Passphrase | FileKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKeys:
    """The keys of a repository as one credential opens them: an object below ``keys/``."""

    kind: str
    #: for people: whose it is, where it lies
    label: str
    salt: bytes
    work: int
    sealed: bytes
    mac: str

    @classmethod
    def of(cls, keys: Keys, credential: Credential, label: str) -> WrappedKeys:
        """Wrap *keys* for one more credential."""
        salt, nonce = os.urandom(16), os.urandom(_NONCE_BYTES)
        cipher = AESGCM(credential.key(salt, credential.work))
        sealed = nonce + cipher.encrypt(nonce, keys.master + keys.addressing, keys.repository)
        mac = keys.mac(_vouched(credential.kind, label, salt, credential.work, sealed))
        return cls(kind=credential.kind, label=label, salt=salt, work=credential.work, sealed=sealed, mac=mac)

    @classmethod
    def parse(cls, data: bytes) -> WrappedKeys:
        """Read what `as_bytes` wrote.

        Raises:
            DamagedArtifactError: when it is something else.
        """
        try:
            body = json.loads(data)
            salt, sealed = bytes.fromhex(body["salt"]), bytes.fromhex(body["sealed"])
            work, kind = int(body["work"]), str(body["kind"])
            if not 1 <= work <= _MOST_WORK:
                raise ValueError("it asks for too much work")
            return cls(
                kind=kind, label=str(body["label"]), salt=salt, work=work, sealed=sealed, mac=str(body["mac"])
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DamagedArtifactError(f"a key of the repository is damaged: {error}") from error

    def as_bytes(self) -> bytes:
        """Return it as it is stored."""
        body: dict[str, Json] = {
            "kind": self.kind,
            "label": self.label,
            "salt": self.salt.hex(),
            "work": self.work,
            "sealed": self.sealed.hex(),
            "mac": self.mac,
        }
        return json.dumps(body).encode()

    def open(self, repository: bytes, credential: Credential) -> Keys | None:
        """Return the keys, or None when *credential* does not open these."""
        if credential.kind != self.kind:
            return None
        nonce, sealed = self.sealed[:_NONCE_BYTES], self.sealed[_NONCE_BYTES:]
        try:
            opened = AESGCM(credential.key(self.salt, self.work)).decrypt(nonce, sealed, repository)
        except (InvalidTag, ValueError):
            return None
        return Keys(repository, opened[:KEY_BYTES], opened[KEY_BYTES:])

    def is_authentic(self, keys: Keys) -> bool:
        """Tell whether somebody with the repository's *keys* made this, as it is."""
        return keys.accepts(_vouched(self.kind, self.label, self.salt, self.work, self.sealed), self.mac)


def no_key_fits(location: str) -> WrongKeyError:
    """Return the error of a credential that opens nothing."""
    return WrongKeyError(f"neither a passphrase nor a key file that was given opens {location}")


def _vouched(kind: str, label: str, salt: bytes, work: int, sealed: bytes) -> bytes:
    return json.dumps([kind, label, salt.hex(), work, sealed.hex()]).encode()


def _keyed(key: bytes, purpose: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, person=purpose, digest_size=KEY_BYTES).digest()
