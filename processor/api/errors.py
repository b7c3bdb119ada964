"""The errors of the API, each a status with a code."""

from processor.telemetry.answers import ApiError


def bad_request(message: str) -> ApiError:
    return ApiError(400, "bad_request", message)


def not_found(message: str = "there is no such response") -> ApiError:
    return ApiError(404, "not_found", message)


def unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})


def forbidden(message: str) -> ApiError:
    return ApiError(403, "forbidden", message)


def unavailable(message: str) -> ApiError:
    return ApiError(503, "unavailable", message, {"Retry-After": "2"})


def too_many(message: str) -> ApiError:
    return ApiError(429, "too_many_requests", message, {"Retry-After": "1"})


def overloaded(message: str) -> ApiError:
    return ApiError(503, "overloaded", message, {"Retry-After": "5"})
