"""An external delegate: a shared library that computes parts of a network on an accelerator, Edge TPU and the like."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from crackedge.edge_runtime.errors import ModelError, OptionError

_ENTRY_POINTS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")


def parse_delegate(text: str) -> tuple[str, dict[str, str]]:
    """Library and options of ``LIBRARY[,key=value...]``.

    Raises:
        OptionError: it reads otherwise.
    """
    library, *pairs = text.split(",")
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise OptionError(f"delegate {text!r}: {pair!r} is no key=value; expected LIBRARY[,key=value...]")
        options[key] = value
    if not library:
        raise OptionError(f"delegate {text!r} names no library; expected LIBRARY[,key=value...]")
    return library, options


def load_delegate(text: str, load: Callable[..., Any]) -> Any:
    """The delegate that a text such as ``libedgetpu.so.1,device=usb`` names, as an interpreter takes it.

    Args:
        text: ``LIBRARY[,key=value...]``; the library by its path, or by a name that the system's loader finds.
        load: the TFLite package's own ``load_delegate``.

    Raises:
        OptionError: the library is no delegate.
        ModelError: there is no such library, or the delegate refuses to start, as without its device.
    """
    library, options = parse_delegate(text)
    try:
        found = ctypes.PyDLL(library)  # first by ourselves: the packages leave half an object behind when this fails
    except OSError as error:
        raise ModelError(f"delegate {library}: cannot be loaded ({error}); give the path of its library") from error
    missing = [name for name in _ENTRY_POINTS if not hasattr(found, name)]
    if missing:
        raise OptionError(f"delegate {library}: a library without {' and '.join(missing)}; expected a TFLite delegate")
    try:
        return load(library, options)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"delegate {library} does not start ({reason}); is its device there?") from error
