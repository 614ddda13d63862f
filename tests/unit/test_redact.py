import pytest

from qat8 import redact


@pytest.mark.parametrize(
    "before, after",
    [
        ("--mlflow=https://me:s3cret@host:5000/x", "--mlflow=https://***@host:5000/x"),
        ("https://t0ken@host/x http://u:p@h", "https://***@host/x http://***@h"),
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("ssh://user@clx1", "ssh://user@clx1"),
        ("https://host/a@b", "https://host/a@b"),
        ("--models=MobileNetV1", "--models=MobileNetV1"),
        ("data/a@b:c.bin", "data/a@b:c.bin"),
    ],
)
def test_passwords_and_tokens_in_urls_are_not_recorded_and_nothing_else_changes(before, after):
    assert redact.text(before) == after
    assert redact.command(["inv", before]) == ["inv", after]
