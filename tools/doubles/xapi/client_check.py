"""What the vendor's own client makes of the double, over XML-RPC. Arguments: URL of the master, URL of a member."""
import sys

import XenAPI

master, member = sys.argv[1:3]
checks = 0


def check(what, holds):
    global checks
    if not holds:
        sys.exit("does not hold: " + what)
    checks += 1


def failure(call, *args):
    try:
        call(*args)
    except XenAPI.Failure as error:
        return error.details
    sys.exit("was not refused: %s" % args[0:1])


session = XenAPI.Session(master)
check("a wrong password", failure(session.login_with_password, "root", "x")[0] == "SESSION_AUTHENTICATION_FAILED")
slave = XenAPI.Session(member)
check("the member names the master", failure(slave.login_with_password, "root", "secret") == ["HOST_IS_SLAVE", "127.0.0.1"])
session.login_with_password("root", "secret", "2.21", "check")
api = session.xenapi

hosts = api.host.get_all_records()
check("two hosts", sorted(h["name_label"] for h in hosts.values()) == ["xs1", "xs2"])
check("numbers are text", all(h["API_version_major"] == "2" for h in hosts.values()))
check("truths are truths", all(h["enabled"] is True for h in hosts.values()))
check("moments", str(api.host_metrics.get_all_records().popitem()[1]["last_updated"]).endswith("Z"))

memory = str(256 * 2 ** 20)
record = {
    "name_label": "päter & <sons>", "name_description": "", "user_version": "1", "is_a_template": False,
    "affinity": "OpaqueRef:NULL", "memory_static_max": memory, "memory_dynamic_max": memory,
    "memory_dynamic_min": memory, "memory_static_min": memory, "VCPUs_params": {}, "VCPUs_max": "1",
    "VCPUs_at_startup": "1", "actions_after_shutdown": "destroy", "actions_after_reboot": "restart",
    "actions_after_crash": "destroy", "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
    "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order",
    "HVM_boot_params": {"order": "c"}, "platform": {}, "PCI_bus": "", "other_config": {"a": "b"},
    "recommendations": "",
}
vm = api.VM.create(record)
check("text comes back as it went", api.VM.get_name_label(vm) == record["name_label"])
check("an unknown call", failure(api.VM.levitate, vm) == ["MESSAGE_METHOD_UNKNOWN", "VM.levitate"])
check("a wrong count", failure(api.VM.start, vm)[:2] == ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start"])

events = getattr(api.event, "from")
token = events(["vm"], "", 1.0)["token"]
api.VM.start(vm, False, False)
batch = events(["vm"], token, 5.0)
check("an event tells of the start", [e["snapshot"]["power_state"] for e in batch["events"] if e["ref"] == vm] == ["Running"])
check("a wrong state", failure(api.VM.start, vm, False, False) == ["VM_BAD_POWER_STATE", vm, "halted", "running"])

task = getattr(api, "Async").VM.hard_shutdown(vm)
while api.task.get_status(task) == "pending":
    pass
check("a task succeeds", api.task.get_status(task) == "success")
check("the VM is off", api.VM.get_power_state(vm) == "Halted")
api.VM.destroy(vm)
session.logout()
print("all %d checks hold" % checks)
