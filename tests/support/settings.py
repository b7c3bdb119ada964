"""Settings as a test gives them, and the mistakes found in them."""

from pathlib import Path

import pytest

from processor.config.loading import load_settings
from processor.config.settings import Settings
from processor.errors import SettingsError

KEY = "app.key:secretsecret"
SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "scram-sha-512"}


def loaded(config_file: Path | None = None, /, **settings: str) -> Settings:
    return load_settings({f"TOKENSTREAM_{name}": text for name, text in settings.items()}, config_file)


def mistakes(config_file: Path | None = None, /, **settings: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        loaded(config_file, **settings)
    assert str(raised.value).splitlines() == raised.value.mistakes
    return raised.value.mistakes


def mistakes_of_a_relay(**settings: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load_settings({f"TOKENSTREAM_{name}": text for name, text in settings.items()}, require_ably=True)
    return raised.value.mistakes
