package lab

import "strings"

// restoreRoutes are what bringing a guest back from an archive takes. Proxmox
// restores by creating: of the many parameters of that the lab heeds those
// that a restore has.
var restoreRoutes = []route{
	{method: "POST", pattern: "/nodes/{node}/qemu", handle: restoreQemu, params: qemuParams},
	{method: "POST", pattern: "/nodes/{node}/lxc", handle: restoreLxc, params: lxcParams},
	{method: "POST", pattern: "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-status", handle: getFreezeStatus, on: onVM,
		privilege: "VM.GuestAgent.Audit|VM.GuestAgent.FileSystemMgmt|VM.GuestAgent.Unrestricted"},
}

// all makes parameters of one kind that have nothing else to say.
func all(k kind, names string) []param {
	var out []param
	for name := range strings.FieldsSeq(names) {
		out = append(out, param{name: name, kind: k})
	}
	return out
}

// params of creating a VM, and of creating a container, in the schema's words.
var (
	guestID    = param{name: "vmid", kind: integer, required: true, min: 100, max: 999999999}
	ontoStore  = param{name: "storage", format: storageFormat}
	intoPool   = param{name: "pool", format: poolFormat}
	qemuParams = append([]param{
		guestID, ontoStore, intoPool, {name: "archive", maxLen: 255}, {name: "description", maxLen: 8192}, {name: "smbios1", maxLen: 512},
		{name: "force", kind: boolean, requires: "archive"}, {name: "unique", kind: boolean, requires: "archive"},
		{name: "arch", enum: []string{"x86_64", "aarch64"}}, {name: "bios", enum: []string{"seabios", "ovmf"}},
		{name: "citype", enum: []string{"configdrive2", "nocloud", "opennebula"}}, {name: "hugepages", enum: []string{"any", "2", "1024"}},
		{name: "keyboard", enum: strings.Fields("de de-ch da en-gb en-us es fi fr fr-be fr-ca fr-ch hu is it ja lt mk nl no pl pt pt-br sv sl tr")},
		{name: "lock", enum: strings.Fields("backup clone create migrate rollback snapshot snapshot-delete suspending suspended")},
		{name: "ostype", enum: strings.Fields("other wxp w2k w2k3 w2k8 wvista win7 win8 win10 win11 l24 l26 solaris")},
		{name: "scsihw", enum: strings.Fields("lsi lsi53c810 virtio-scsi-pci virtio-scsi-single megasas pvscsi")},
		{name: "cores", kind: integer, min: 1}, {name: "smp", kind: integer, min: 1}, {name: "sockets", kind: integer, min: 1}, {name: "vcpus", kind: integer, min: 1},
		{name: "cpuunits", kind: integer, min: 1, max: 262144}, {name: "shares", kind: integer, max: 50000},
		{name: "import-working-storage", format: storageFormat}, {name: "vmstatestorage", format: storageFormat},
	}, qemuRest...)
	qemuRest = append(append(append(
		all(boolean, "acpi allow-ksm autostart ciupgrade freeze ha-managed keephugepages kvm localtime numa onboot protection reboot start tablet tdf template live-restore"),
		all(integer, "balloon bwlimit migrate_speed")...), all(number, "cpulimit migrate_downtime")...),
		all(text, `affinity agent amd-sev args audio0 boot bootdisk cdrom cicustom cipassword ciuser cpu efidisk0 hookscript hostpci[n] hotplug ide[n]
			intel-tdx ipconfig[n] ivshmem machine memory name nameserver net[n] numa[n] parallel[n] rng0 sata[n] scsi[n] searchdomain serial[n]
			spice_enhancements sshkeys startdate startup tags tpmstate0 unused[n] usb[n] vga virtio[n] virtiofs[n] vmgenid watchdog`)...)
	lxcParams = append([]param{
		guestID, ontoStore, intoPool, {name: "ostemplate", required: true, maxLen: 255}, {name: "description", maxLen: 8192}, {name: "hostname", maxLen: 255},
		{name: "unique", kind: boolean, requires: "restore"}, {name: "arch", enum: strings.Fields("amd64 i386 arm64 armhf riscv32 riscv64")},
		{name: "cmode", enum: strings.Fields("shell console tty")},
		{name: "lock", enum: strings.Fields("backup create destroyed disk fstrim migrate mounted rollback snapshot snapshot-delete")},
		{name: "ostype", enum: strings.Fields("debian devuan ubuntu centos fedora opensuse archlinux alpine gentoo nixos unmanaged")},
		{name: "cores", kind: integer, min: 1, max: 8192}, {name: "cpuunits", kind: integer, max: 500000}, {name: "memory", kind: integer, min: 16},
		{name: "tty", kind: integer, max: 6},
	}, lxcRest...)
	lxcRest = append(append(append(
		all(boolean, "console debug force ha-managed ignore-unpack-errors onboot protection restore start template unprivileged"),
		all(integer, "swap")...), all(number, "bwlimit cpulimit")...),
		all(text, `dev[n] entrypoint env features hookscript mp[n] nameserver net[n] password rootfs searchdomain ssh-public-keys startup tags timezone unused[n]`)...)
)
