"""The two flavours of TensorRT as they are installed: found, too old or missing, and what they log."""

import pytest
from double_engines import PLAN
from doubles import TensorRt

from gpsr_deploy.backends import flavours
from gpsr_deploy.errors import BackendUnavailable


def test_a_flavour_that_is_not_installed_names_its_extra(monkeypatch):
    for runtime, extra in (("tensorrt", "trt"), ("tensorrt-rtx", "rtx")):
        for error in (ImportError("no module"), OSError("libnvinfer.so.11: no such file")):

            def fail(name, error=error):
                raise error

            monkeypatch.setattr(flavours.importlib, "import_module", fail)
            with pytest.raises(BackendUnavailable, match=rf"error\[5\].*gpsr-deploy\[{extra}\]"):
                flavours.module_of(runtime)


@pytest.mark.parametrize(
    ("version", "taken"), [("10.11.0.33", False), ("8.6.1", False), ("10.12.0.36", True), ("11.4.0.7.post1", True)]
)
def test_a_tensorrt_that_is_too_old_is_refused(monkeypatch, gpu, version, taken):
    monkeypatch.setattr(
        flavours.importlib, "import_module", lambda name: TensorRt(gpu, rtx=False, plan=PLAN, version=version)
    )
    if taken:
        assert flavours.version_of(flavours.module_of("tensorrt")).count(".") == 3
    else:
        with pytest.raises(BackendUnavailable, match="10.12 or later"):
            flavours.module_of("tensorrt")


def test_messages_are_kept_and_not_printed(capfd):
    trt = flavours.module_of("tensorrt-rtx")
    log = flavours.messages(trt)
    assert log.last == "it does not say why"
    log.log(trt.ILogger.WARNING, "careful")
    log.log(trt.ILogger.ERROR, "first")
    log.log(trt.ILogger.INTERNAL_ERROR, "last")
    log.log(trt.ILogger.INFO, "by the way")
    assert (log.errors, log.last) == (["first", "last"], "last")
    assert capfd.readouterr() == ("", "")
