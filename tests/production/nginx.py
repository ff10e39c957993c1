"""A private nginx in front of some instances."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..promises.servers import HOST, free_port, wait_for
from .instance import Instance

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{
        {servers}
        {keepalive}
    }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


@contextmanager
def behind_nginx(
    folder: Path, instances: Sequence[Instance], keepalive_s: int | None
) -> Iterator[str]:
    """The address of nginx, for the length of a block. It keeps connections to the instances for
    `keepalive_s` seconds, or none.
    """
    path = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert path is not None, "nginx is not installed: these tests start a private one"
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        CONFIG.format(
            folder=folder,
            host=HOST,
            port=port,
            # max_fails=0: an instance that refused a connection is asked again at once. With nginx's
            # default it would count as dead for ten seconds, and nobody is left when the other
            # one restarts in these.
            servers="\n".join(f"server {HOST}:{each.port} max_fails=0;" for each in instances),
            keepalive=f"keepalive 32; keepalive_timeout {keepalive_s}s;" if keepalive_s else "",
        )
    )
    nginx = subprocess.Popen([path, "-c", str(config), "-p", str(folder)], stderr=subprocess.PIPE)
    try:
        wait_for((folder / "nginx.pid").exists, "nginx")
        yield f"http://{HOST}:{port}"
    finally:
        nginx.terminate()
        nginx.communicate(timeout=10)
