"""What `keyhinge check` tells of an `age` section."""

import stat
from collections.abc import Iterator

from keyhinge import Finding, KeyhingeError
from keyhinge_age._identities import Identities
from keyhinge_age._provider import recipients


def findings(identities: Identities, recovery: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what there is to say; core tries encrypting and decrypting itself."""
    try:
        known = identities.all()
        recipients(recovery)
    except KeyhingeError as error:
        yield Finding("error", "age-unusable", str(error))
        return
    message = f"identities: {len(known)}; {known[0].key_id} encrypts"
    yield Finding("ok", "age-identities", message, {"identities": len(known)})
    yield from _file(identities)
    if recovery:
        message = f"new values open with {len(recovery)} recovery keys as well"
        yield Finding("ok", "age-recovery", message, {"recipients": len(recovery)})
    else:
        message = "no recoveryRecipients: without the identity no value opens, so back it up"
        yield Finding("info", "age-no-recovery", message)


def _file(identities: Identities) -> Iterator[Finding]:
    path = identities.setting.path
    if path is None:
        return
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        yield Finding("error", "age-file-missing", f"{path} went away just now")
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"{path} has the mode {mode:04o}: others than its owner can use it; chmod 600 it"
        yield Finding("warning", "age-file-mode", message, {"mode": f"{mode:04o}"})
