"""Works with the lab through proxmoxer, as an administrator's script would.

Reads where and as whom from stdin, as JSON, and writes what it saw to stdout.
An answer that is not as proxmoxer and the script expect ends it.
"""

import json
import sys
import time

from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException

job = json.load(sys.stdin)
common = {"port": job["port"], "verify_ssl": job["certificate"], "timeout": 30}


def finish(api, node, upid):
    """Follow a task as the web interface does: its log by lines, then its end."""
    lines, deadline = [], time.monotonic() + 60
    while True:
        status = api.nodes(node).tasks(upid).status.get()
        for line in api.nodes(node).tasks(upid).log.get(start=len(lines), limit=500):
            lines.append(line["t"])
        if status["status"] == "stopped":
            return status["exitstatus"], lines
        if time.monotonic() > deadline:
            raise SystemExit("the task does not end: " + upid)


def work(api):
    """The same for a password and for a token."""
    out = {"release": api.version.get()["release"]}
    out["nodes"] = sorted(n["node"] for n in api.nodes.get() if n["status"] == "online")
    out["guests"] = sorted(
        [g["vmid"] for n in out["nodes"] for g in api.nodes(n).qemu.get()]
        + [g["vmid"] for n in out["nodes"] for g in api.nodes(n).lxc.get()]
    )
    out["resources"] = sorted(g["vmid"] for g in api.cluster.resources.get(type="vm"))
    out["storages"] = sorted(s["storage"] for s in api.storage.get())
    out["active"] = sorted(s["storage"] for s in api.nodes("pve1").storage.get(enabled=1) if s["active"])
    out["config"] = api.nodes("pve1").qemu(100).config.get()["name"]

    upid = api.nodes("pve2").vzdump.post(vmid=101, storage="backup", compress="zstd", mode="snapshot")
    out["exit"], out["log"] = finish(api, "pve2", upid)
    content = api.nodes("pve2").storage("backup").content
    newest = max(content.get(content="backup", vmid=101), key=lambda v: v["ctime"])
    content(newest["volid"]).put(notes="seen by proxmoxer", protected=1)
    volume = content(newest["volid"]).get()
    out["notes"], out["protected"] = volume["notes"], volume["protected"]
    content(newest["volid"]).put(protected=0)
    removed = content(newest["volid"]).delete()
    out["removed"], _ = finish(api, "pve2", removed)

    if job["snapshots"]:
        guest = api.nodes("pve1").qemu(106)
        made, _ = finish(api, "pve1", guest.snapshot.post(snapname="by-proxmoxer", description="a test"))
        names = [s["name"] for s in guest.snapshot.get()]
        gone, _ = finish(api, "pve1", guest.snapshot("by-proxmoxer").delete())
        out["snapshots"] = [made, "by-proxmoxer" in names, gone, "by-proxmoxer" in [s["name"] for s in guest.snapshot.get()]]

    try:
        api.nodes("pve1").qemu(999).config.get()
        raise SystemExit("a guest that is not there has a configuration")
    except ResourceException as e:
        out["missing"] = str(e)
    return out


user, name = job["token_id"].split("!")
seen = {
    "password": work(ProxmoxAPI("127.0.0.1", user="root@pam", password=job["password"], **common)),
    "token": work(ProxmoxAPI("127.0.0.1", user=user, token_name=name, token_value=job["token"], **common)),
}
try:
    ProxmoxAPI("127.0.0.1", user="root@pam", password="wrong", **common)
    raise SystemExit("a wrong password was taken")
except Exception as e:  # proxmoxer's own sort of error
    seen["wrong"] = type(e).__name__
json.dump(seen, sys.stdout)
