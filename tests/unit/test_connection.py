"""Security settings as arguments of a client."""

import ssl

import pytest

from streams.connection import client_arguments
from streams.errors import BrokerError
from streams.settings import Security


def test_a_plain_connection_needs_no_arguments():
    assert client_arguments(Security()) == {}


def test_sasl_carries_mechanism_and_user():
    security = Security("SASL_PLAINTEXT", "SCRAM-SHA-512", "monitor", "secret")
    assert client_arguments(security) == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "monitor",
        "sasl_plain_password": "secret",
    }
    assert "secret" not in repr(security)


def test_tls_checks_certificate_and_host_name():
    context = client_arguments(Security("SASL_SSL", "PLAIN", "u", "p"))["ssl_context"]
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("name", ["ca_file", "cert_file"])
def test_a_certificate_that_cannot_be_read_is_named(name, tmp_path):
    missing = tmp_path / "gone.pem"
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (missing, broken):
        with pytest.raises(BrokerError, match=path.name):
            client_arguments(Security("SSL", **{name: str(path)}))
