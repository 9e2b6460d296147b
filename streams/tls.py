"""Whose certificates providers and webhooks may have."""

import ssl

import httpx

from schemas.errors import ConfigurationError


def authorities(ca_file: str) -> ssl.SSLContext:
    """The public ones, or those of SSL_CERT_FILE or SSL_CERT_DIR where set, and those of the PEM file where it is named.

    Raises ConfigurationError where that cannot be read.
    """
    context = httpx.create_ssl_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"worker.ca_file: {ca_file} cannot be used ({error}); name a readable PEM file"
            ) from None
    return context
