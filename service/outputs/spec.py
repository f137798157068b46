"""What a bucket is and how it is written to, as the modules that talk to S3 need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from service.aws.auth import Auth


@dataclass(frozen=True, slots=True)
class Encryption:
    """Server-side encryption to ask for. key_id and bucket_key go with `aws:kms` only; without key_id: AWS's own."""

    type: Literal["AES256", "aws:kms"]
    key_id: str | None = None
    bucket_key: bool = False


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A customer's bucket and how to write to it.

    endpoint_url: None is AWS, or what the operator put into `AWS_ENDPOINT_URL_S3`. tags: at most ten, as S3 has it.
    """

    bucket: str
    region: str
    auth: Auth
    endpoint_url: str | None = None
    expected_bucket_owner: str | None = None
    encryption: Encryption | None = None
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    acl: str | None = None

    def at(self, bucket: str | None, region: str | None, endpoint_url: str | None) -> BucketSpec:
        """Return where something of this destination's was put, to be reached with its present credentials; often itself.

        A destination can be replaced by one with another bucket, region or endpoint, and nothing moves with it. bucket,
        region: None is this one's, which is how rows of older versions have it; without a region endpoint_url is this
        one's too, whatever is given. Elsewhere no settings of writes hold, nor `expected_bucket_owner`, which is said of
        the present bucket.
        """
        bucket = bucket or self.bucket
        if region is None:
            region, endpoint_url = self.region, self.endpoint_url
        if (bucket, region, endpoint_url) == (self.bucket, self.region, self.endpoint_url):
            return self
        # New credentials meet an old endpoint: it was given by the same account, the guard looks at it anew, and all that
        # goes there are signatures for its own name (and a role's session token, which is worth nothing without its key).
        return BucketSpec(bucket, region, self.auth, endpoint_url)

    def place(self, key: str) -> dict[str, str]:
        """Return the parameters that every request about an object takes."""
        owner = {"ExpectedBucketOwner": self.expected_bucket_owner} if self.expected_bucket_owner else {}
        return {"Bucket": self.bucket, "Key": key, **owner}

    def write_settings(self) -> dict[str, Any]:
        """Return the parameters that every write takes: PutObject and CreateMultipartUpload."""
        asked = self.encryption
        settings = {
            "ServerSideEncryption": asked.type if asked else None,
            "SSEKMSKeyId": asked.key_id if asked else None,
            "BucketKeyEnabled": True if asked and asked.bucket_key else None,
            "StorageClass": self.storage_class,
            "Tagging": urlencode(dict(self.tags)) or None,
            "ACL": self.acl,
        }
        return {name: value for name, value in settings.items() if value is not None}
