"""What a place of a customer's at AWS does not let us do, told so that the customer can act on it."""

from __future__ import annotations

from service.jobs.errors import ErrorCode, OutputError


class DestinationError(OutputError):
    """The bucket did not take the file. s3_code: what S3 itself calls it, None when S3 said nothing.

    ours: the service's own credentials, clock or standing at AWS are the reason, and nothing of the customer's.
    """

    def __init__(
        self, message: str, hint: str | None = None, *, s3_code: str | None = None, ours: bool = False
    ) -> None:
        super().__init__(message, hint)
        self.s3_code = s3_code
        self.ours = ours


class DestinationDenied(DestinationError):  # noqa: N818 - reads as what happened
    """The bucket refuses us, or its description is wrong; somebody has to change something first."""

    code = ErrorCode.DESTINATION_DENIED
    final = True
    usual_hint = "Check the destination's bucket, region and credentials, then retry the job."


class DestinationUnavailable(DestinationError):  # noqa: N818 - reads as what happened
    """The bucket can't be written now; it may be better later."""

    code = ErrorCode.DESTINATION_UNAVAILABLE
    final = False
    usual_hint = "The bucket could not be reached; retry the job when it can."
