"""Opening: from a text to the source that it stands for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.sources.addresses import STDIN, Address, find_addresses
from crackedge.edge_runtime.sources.applicability import refuse_misfits
from crackedge.edge_runtime.sources.pipe import check_stdin
from crackedge.edge_runtime.sources.reader import Capture
from crackedge.edge_runtime.sources.source import Source, SourceOptions, never


def open_source(
    text: str | Path,
    options: SourceOptions | None = None,
    *,
    stop: Callable[[], bool] = never,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Source:
    """Open what gives frames. Use it in a ``with`` block and iterate over it.

    Args:
        text: camera number or device, file, folder or glob of images, stream URL, or ``scene:``.
        options: how to read it.
        stop: asked now and then while a live source waits; iteration ends when it says True.
        on_warning: called with a line as soon as a live source is lost.

    Raises:
        SourceError: a file is missing, unreadable or holds no frames (that may show only while iterating).
        LiveSourceError: a camera or stream is absent; while iterating: it was lost.
        OptionError: the text stands for several sources, or for nothing that can be read.
    """
    addresses = find_addresses(str(text))
    if len(addresses) > 1:
        raise OptionError(
            f"{text}: {len(addresses)} sources in there ({addresses[0].name}, {addresses[1].name}, ...); "
            "open them one by one"
        )
    return open_address(addresses[0], options, stop=stop, on_warning=on_warning)


def open_address(
    address: Address,
    options: SourceOptions | None = None,
    *,
    stop: Callable[[], bool] = never,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Source:
    """Open a found source; see :func:`open_source`."""
    options = options or SourceOptions()
    refuse_misfits(address, options)
    if address.text == STDIN:
        check_stdin()
    source = _open(address, options, stop=stop, on_warning=on_warning)
    if not (options.loop or options.realtime or options.every_s or options.rotate or options.flip):
        return source
    from crackedge.edge_runtime.sources import views

    if options.loop:
        source = views.looped(source)
    if options.realtime and not source.live:
        source = views.paced(source, options, stop=stop)
    elif source.live and options.every_s:
        source = views.spaced(source, options.every_s)
    if options.rotate or options.flip:
        source = views.turned(source, rotate=options.rotate, flip=options.flip)
    return source


def _open(
    address: Address, options: SourceOptions, *, stop: Callable[[], bool], on_warning: Callable[[str], None]
) -> Source:
    if address.kind == "images":
        from crackedge.edge_runtime.sources.images import ImageFiles

        return ImageFiles(address, options)
    if address.kind == "video" or (address.is_pipe and options.realtime is False):
        from crackedge.edge_runtime.sources.video import VideoFile

        return VideoFile(address, options, stop=stop)
    if address.kind == "scene":
        from crackedge.edge_runtime.sources.scene_source import SceneSource

        return SceneSource(address, options.selection())
    from crackedge.edge_runtime.sources.live import LiveSource

    return LiveSource(
        _capture(address, options),
        uri=address.title,
        name=address.name,
        kind=address.kind,
        options=options,
        may_end=address.is_pipe,
        patient=address.is_datagrams,
        stop=stop,
        on_warning=on_warning,
    )


def _capture(address: Address, options: SourceOptions) -> Callable[[], Capture]:
    """What opens the capture of a live source, and may block.

    Raises:
        MissingExtraError: what reads such a source is not installed.
    """
    if address.scheme == "picamera":
        from crackedge.edge_runtime.sources.picamera import PicameraCapture, find_driver

        number = int(address.text.rpartition("/")[2])
        return functools.partial(PicameraCapture, find_driver(address.uri), number, options)
    if address.scheme in ("gst", "csi"):
        from crackedge.edge_runtime.sources.gstreamer import GstreamerCapture, pipeline_of, require_gstreamer

        require_gstreamer(address.uri)
        return functools.partial(GstreamerCapture, pipeline_of(address, options))
    if address.kind == "camera":
        from crackedge.edge_runtime.sources.camera import CameraCapture

        return functools.partial(CameraCapture, address.text, options)
    from crackedge.edge_runtime.sources.stream import StreamCapture

    return functools.partial(StreamCapture, address.text, options)
