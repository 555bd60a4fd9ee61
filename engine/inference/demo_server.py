"""The demo's server: it listens on this machine only, limits uploads, and loads nothing from elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from starlette.middleware import Middleware

from engine.common.errors import EngineError
from engine.inference.demo_page import MAX_UPLOAD_BYTES, SCRIPT, STYLE

HOST = "127.0.0.1"
# The browser must not fetch what Gradio's page loads from elsewhere.
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
          "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
          "worker-src 'self' blob:; connect-src 'self' data: blob:; "
          "frame-ancestors 'self'; form-action 'self'; base-uri 'self'")


def with_policy(app):
    """ASGI middleware that adds POLICY to every response."""
    async def respond(scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"content-security-policy", POLICY.encode())]}
            await send(message)

        await app(scope, receive, send_with_policy)

    return respond


@contextmanager
def serve(page: gr.Blocks, port: int | None = None, share: bool = False) -> Iterator[list[str]]:
    """Serve the page on HOST, in threads of this process, until the block ends; yields its addresses.

    port None: the first free one from 7860. share: also a public address, through Gradio's servers. EngineError if
    the port is taken or Gradio gives no public address.
    """
    # Gradio would fetch its default fonts from elsewhere.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    try:
        _, local, public = page.launch(
            server_name=HOST, server_port=port, share=share, quiet=True, prevent_thread_lock=True, inbrowser=False,
            max_file_size=MAX_UPLOAD_BYTES, show_error=False, footer_links=[], run_history=False, ssr_mode=False,
            mcp_server=False, pwa=False, enable_monitoring=False, theme=theme, css=STYLE, head=SCRIPT,
            app_kwargs={"middleware": [Middleware(with_policy)], "docs_url": None, "redoc_url": None})
    except OSError:
        taken = f"port {port} is" if port else "the ports from 7860 on are"
        raise EngineError(f"{taken} taken by other programs: choose another with --port=N") from None
    try:
        if share and not public:
            raise EngineError("--share: Gradio's servers gave no public address: try again, or leave --share out")
        yield [address for address in (local, public) if address]
    finally:
        page.close(verbose=False)
