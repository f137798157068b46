"""What to change when S3, or KMS behind it, refuses a request."""

from __future__ import annotations

import re

_CREDENTIALS = "Check the access key id and the secret access key of the destination."
_REGION = "Set the destination's region to the one the bucket is in."
_KMS = (
    "Check that the KMS key exists in the bucket's region and is enabled, and allow kms:GenerateDataKey and kms:Decrypt"
    " on it to these credentials, in the key's own policy too."
)
_ACL = "The bucket does not take ACLs; remove `acl` from the destination."
_ENCRYPTION = "Correct the destination's `encryption`, or what the bucket's policy asks for."
_CLOCK = "The clock of the machine that runs this service is wrong; its operator has to correct it."
_RENEWED = "The session with the bucket has run out; it is renewed by itself. If it stays so, check the role."
_SLOWER = "S3 takes no more requests for this bucket right now; it is tried again by itself."
_LOCK = "The bucket's object lock holds it: outputs are never deleted or replaced, only the check deletes its probe."
_OWNER = " S3 also answers so when the bucket is not of the destination's `expected_bucket_owner`."
_SERVER = "The S3 server does not know something that is needed here (conditional writes, say); use one that does."
_TAGS = "Correct the destination's `tags`: at most ten, of letters, digits, spaces and `_.:/=+-@`."

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (checked 2026-11). HEAD has no body, so that the
# status is its code.
_HINTS = {
    "AllAccessDisabled": "All access to this bucket has been disabled; ask its owner or AWS.",
    "AccountProblem": "There is a problem with the AWS account of the bucket; ask AWS.",
    "NotSignedUp": "The AWS account of these credentials is not signed up for S3; ask AWS.",
    "InvalidPayer": "All access to this bucket has been disabled; ask its owner or AWS.",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "UnauthorizedAccess": _CREDENTIALS,
    # Also what S3 answers to a session of the global STS endpoint in a region that its account has to opt in to.
    "InvalidToken": f"{_CREDENTIALS} With a role: check that the bucket's region is enabled in its account.",
    "ExpiredToken": _RENEWED,
    "TokenRefreshRequired": _RENEWED,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "NoSuchBucket": "Create the bucket, or correct its name.",
    "InvalidBucketName": "Correct the bucket's name.",
    "404": "Nothing of that name is there: correct the bucket's name, or the endpoint.",
    "NoSuchKey": "The object is not there any more; look for a life-cycle rule or somebody who deletes.",
    "InvalidBucketOwnerAWSAccountID": "Correct the destination's `expected_bucket_owner`: an AWS account's 12 digits.",
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "301": _REGION,
    "307": _REGION,
    "400": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "IncorrectEndpoint": _REGION,
    "AccessControlListNotSupported": _ACL,
    "InvalidBucketAclWithObjectOwnership": _ACL,
    "InvalidEncryptionAlgorithmError": _ENCRYPTION,
    "ServerSideEncryptionConfigurationNotFoundError": _ENCRYPTION,
    "InvalidStorageClass": "Correct the destination's `storage_class`.",
    "InvalidObjectState": (
        "Objects of this `storage_class` can't be read before they are restored, so that links to outputs don't work;"
        " choose another one if they should."
    ),
    "InvalidTag": _TAGS,
    "BadRequest": _TAGS,  # "Object tags cannot be greater than 10"
    "InvalidArgument": (
        "S3 takes one of the destination's settings as wrong: check `encryption`, `storage_class`, `tags` and `acl`."
    ),
    "InvalidRequest": (
        "Check what the bucket asks of every write (encryption, object lock) and the destination's `encryption`,"
        " `storage_class` and `acl`."
    ),
    "EntityTooLarge": (
        "The file is larger than the S3 server takes; AWS takes 5 TiB, other servers have limits of their own to raise."
    ),
    "EntityTooSmall": "The S3 server wants larger parts; its operator can raise GENRELAY_OUTPUTS__PART_BYTES.",
    "KeyTooLongError": "Shorten the destination's `path` or `key_template`: a key has at most 1,024 bytes.",
    "MethodNotAllowed": _SERVER,
    "NotImplemented": _SERVER,
    "ConditionalRequestConflict": "Somebody else writes to the same key; it is tried again by itself.",
    "NoSuchUpload": "The upload was ended by somebody else (a life-cycle rule?); it begins anew by itself.",
    "SlowDown": _SLOWER,
    "503": _SLOWER,
    "Throttling": _SLOWER,
    "ThrottlingException": _SLOWER,
    "TooManyRequests": _SLOWER,
    "RequestLimitExceeded": _SLOWER,
    "KMS.ThrottlingException": "KMS takes no more requests right now; `bucket_key` makes fewer of them.",
}

# A write that is refused only because of one setting, by an answer that says no more than AccessDenied.
_SETTINGS = {
    "encryption": f"{_KMS} A bucket's policy may also ask for another encryption than the destination's.",
    "tags": "Allow s3:PutObjectTagging on the bucket and prefix, or remove `tags` from the destination.",
    "acl": "Allow s3:PutObjectAcl on the bucket and prefix, or remove `acl` from the destination.",
    "storage_class": "A policy refuses the destination's `storage_class`; change one of them.",
}

_DENIED = frozenset({"AccessDenied", "403", "AccessDeniedException", "Forbidden"})
# What an operation of S3 needs, for the answers (nearly all to other accounts) that do not name it.
_ACTIONS = {
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "GetObjectTagging": "s3:GetObjectTagging",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
}
_NAMED_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]{1,30}:[A-Za-z]{1,60})")


def hint_for(code: str, text: str, operation: str) -> str | None:
    """Return what to change after an answer of S3, None when nothing is known of its code.

    text: the error's own message; only AccessDenied is told apart by it, which stands for many things. operation: the
    API's name of the call.
    """
    if code.startswith("KMS.") and code not in _HINTS:
        return _KMS
    if code not in _DENIED:
        return _HINTS.get(code)
    return _hint_for_denied(text, operation)


def hint_for_setting(name: str, text: str) -> str | None:
    """Return what to change when a write is refused only with this setting; None where the answer says it itself."""
    return None if _NAMED_ACTION.search(text) or names_kms(None, text) else _SETTINGS.get(name)


def needs_region(hint: str | None) -> bool:
    """Tell whether the hint is that of a wrong region, to which S3 often adds the right one."""
    return hint is not None and hint == _REGION


def names_kms(code: str | None, text: str) -> bool:
    """Tell whether an answer is about the encryption key and not about the bucket."""
    return bool(code and code.startswith("KMS.")) or bool(
        re.search(r"\bkms\b|customer master key", text, re.IGNORECASE)
    )


def _hint_for_denied(text: str, operation: str) -> str:
    if "object lock" in text.lower():
        return _LOCK
    if names_kms(None, text):
        return _KMS
    named = _NAMED_ACTION.search(text)
    action = named[1] if named else _ACTIONS.get(operation, "s3:PutObject")
    if "explicit deny" in text:
        return f"A policy denies {action} explicitly; look for it in the bucket's policy, and in those of its organization."
    if named:
        return f"Allow {action} on the bucket and prefix, in the bucket's policy too if it is another account's."
    owner = _OWNER if action == "s3:PutObject" else ""
    return f"Allow {action} on the bucket and prefix; look at the bucket policy and KMS key too.{owner}"
