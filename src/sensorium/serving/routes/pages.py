"""The web page's files, read once: there is no path to get out of, and nothing from another host may run."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
# Own files alone; pictures and sounds that the user chose live at data: and blob: addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """(bytes, content type) by path; ``index.html`` stands at ``/``."""
    folder = files("sensorium.serving") / "web"
    if not folder.is_dir():
        return {}
    found = {}
    for file in folder.iterdir():
        suffix = file.name[file.name.rfind(".") :] if "." in file.name else ""
        if suffix in TYPES and file.is_file():
            path = "/" if file.name == "index.html" else f"/{file.name}"
            found[path] = (file.read_bytes(), TYPES[suffix])
    return found


def add_pages(app: FastAPI) -> list[str]:
    """A route for each file; their paths, which need no key."""
    found = page_files()

    async def page(request: Request) -> Response:
        body, type_ = found[request.url.path]
        return Response(body, media_type=None, headers=HEADERS | {"content-type": type_})

    for path in found:
        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
    return list(found)
