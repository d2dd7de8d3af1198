package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	proxmox "github.com/luthermonson/go-proxmox"

	"nixmox/builtins/internal/pvetest"
)

// Clients that know nothing of the lab work with it as with Proxmox VE.

// independent opens a lab whose tasks go on by themselves, and holds every
// request and every good answer against the schema.
func independent(t *testing.T) *client {
	t.Helper()
	seen := make(chan Exchange, 10_000)
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockAuto, Observe: func(x Exchange) { seen <- x }})
	t.Cleanup(func() {
		api := pvetest.Schema(t, "9.2.11")
		for range len(seen) {
			x := <-seen
			if x.Status != 200 {
				continue
			}
			var body struct{ Data json.RawMessage }
			if err := json.Unmarshal(x.Body, &body); err != nil {
				t.Errorf("%s %s: %v", x.Method, x.Path, err)
			}
			if err := api.CheckRequest(x.Method, x.Path, x.Params); err != nil {
				t.Error(err)
			}
			if err := api.CheckAnswer(x.Method, x.Path, body.Data); err != nil {
				t.Error(err)
			}
		}
	})
	return c
}

// debianPython is a Python that has proxmoxer; Debian's own goes first.
func debianPython(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import proxmoxer, requests").Run() == nil {
			return name
		}
	}
	t.Skip("no Python with proxmoxer here: apt-get install python3-proxmoxer python3-requests")
	return ""
}

func TestProxmoxer(t *testing.T) {
	python := debianPython(t)
	c := independent(t)
	at, err := url.Parse(c.end.URL)
	if err != nil {
		t.Fatal(err)
	}
	snapshots, _ := findRoute("POST", "/nodes/pve1/qemu/106/snapshot")
	job, err := json.Marshal(map[string]any{
		"port": at.Port(), "certificate": filepath.Join(c.lab.folder.dir, certFile), "password": c.end.RootPassword,
		"token_id": c.end.TokenID, "token": c.end.TokenSecret, "snapshots": snapshots != nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, "testdata/with_proxmoxer.py")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(job), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	type work struct {
		Release, Config, Exit, Notes, Removed, Missing string
		Nodes, Storages, Active, Log                   []string
		Guests, Resources                              []int
		Protected                                      int
		Snapshots                                      []any
	}
	var seen struct {
		Password, Token work
		Wrong           string
	}
	if err := json.Unmarshal(stdout.Bytes(), &seen); err != nil {
		t.Fatalf("%v in %s", err, stdout.String())
	}
	for name, w := range map[string]work{"password": seen.Password, "token": seen.Token} {
		switch {
		case w.Release != "9.2" || !slices.Equal(w.Nodes, []string{"pve1", "pve2", "pve3"}) || w.Config != "nixos-vm":
		case len(w.Guests) != 14 || !slices.Equal(w.Guests, w.Resources):
		case !slices.Equal(w.Storages, []string{"backup", "local", "media", "rpool", "small"}) || len(w.Active) != 5:
		case w.Exit != "OK" || w.Log[len(w.Log)-1] != "TASK OK" || !slices.ContainsFunc(w.Log, func(l string) bool { return l == "INFO: Starting Backup of VM 101 (lxc)" }):
		case w.Notes != "seen by proxmoxer" || w.Protected != 1 || w.Removed != "OK":
		case !strings.HasPrefix(w.Missing, "500 Internal Server Error: Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"):
		case snapshots != nil && len(w.Snapshots) == 4 && (w.Snapshots[0] != "OK" || w.Snapshots[1] != true || w.Snapshots[2] != "OK" || w.Snapshots[3] != false):
		default:
			continue
		}
		t.Errorf("by %s: %+v", name, w)
	}
	if seen.Wrong != "AuthenticationError" {
		t.Errorf("a wrong password ends with %s", seen.Wrong)
	}
	if out := stdout.String() + stderr.String(); strings.Contains(out, c.end.RootPassword) || strings.Contains(out, c.end.TokenSecret) {
		t.Error("a secret was shown")
	}
}

// TestGoProxmox uses go-proxmox's own high-level calls, by password and by
// token, over TLS that it checks.
func TestGoProxmox(t *testing.T) {
	c := independent(t)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.lab.cert.pair.Certificate[0]})) {
		t.Fatal("no certificate")
	}
	for name, auth := range map[string]proxmox.Option{
		"password": proxmox.WithCredentials(&proxmox.Credentials{Username: "root@pam", Password: c.end.RootPassword}),
		"token":    proxmox.WithAPIToken(c.end.TokenID, c.end.TokenSecret),
	} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
			t.Cleanup(transport.CloseIdleConnections)
			px := proxmox.NewClient(c.end.URL+apiPrefix, proxmox.WithHTTPClient(&http.Client{Transport: transport}), auth)
			useGoProxmox(t, px)
		})
	}
}

func useGoProxmox(t *testing.T, px *proxmox.Client) {
	t.Helper()
	ctx := context.Background()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	version, err := px.Version(ctx)
	ok(err)
	nodes, err := px.Nodes(ctx)
	ok(err)
	if version.Release != "9.2" || len(nodes) != 3 || nodes[0].Status != "online" {
		t.Errorf("%+v %+v", version, nodes)
	}
	cluster, err := px.Cluster(ctx)
	ok(err)
	resources, err := cluster.Resources(ctx, "vm")
	ok(err)
	next, err := cluster.NextID(ctx)
	ok(err)
	if cluster.Quorate != 1 || len(cluster.Nodes) != 3 || len(resources) != 14 || next != 112 {
		t.Errorf("%+v, %d guests, next %d", cluster, len(resources), next)
	}
	node, err := px.Node(ctx, "pve2")
	ok(err)
	vms, err := node.VirtualMachines(ctx)
	ok(err)
	containers, err := node.Containers(ctx)
	ok(err)
	storages, err := node.Storages(ctx)
	ok(err)
	if node.PVEVersion == "" || node.Kversion == "" || len(vms) != 1 || len(containers) != 3 || len(storages) != 5 {
		t.Errorf("%+v, %d VMs, %d containers, %d storages", node, len(vms), len(containers), len(storages))
	}
	vm, err := node.VirtualMachine(ctx, 103)
	ok(err)
	if vm.VirtualMachineConfig.Name != "router" || !vm.IsRunning() {
		t.Errorf("%+v", vm)
	}
	ct, err := node.Container(ctx, 101)
	ok(err)
	if ct.ContainerConfig.Hostname != "nixos-ct" || ct.Status != "running" {
		t.Errorf("%+v", ct)
	}
	services, err := node.Services(ctx)
	ok(err)
	if len(services) < 10 {
		t.Errorf("%d services", len(services))
	}
	sub, err := node.Subscription(ctx)
	ok(err)
	networks, err := node.Networks(ctx)
	ok(err)
	updates, err := node.APTUpdates(ctx)
	ok(err)
	if sub.Status != "notfound" || len(networks) != 7 || len(updates) != 2 {
		t.Errorf("%+v, %d networks, %d updates", sub, len(networks), len(updates))
	}

	task, err := node.Vzdump(ctx, &proxmox.VirtualMachineBackupOptions{VMID: 105, Storage: "backup", Mode: "snapshot", Compress: "zstd"})
	ok(err)
	ok(task.Wait(ctx, time.Millisecond, time.Minute))
	log, err := task.Log(ctx, 0, 500)
	ok(err)
	if !task.IsSuccessful || task.ExitStatus != "OK" || len(log) < 5 {
		t.Errorf("%+v %v", task, log)
	}
	backup, err := node.Storage(ctx, "backup")
	ok(err)
	content, err := backup.GetContent(ctx)
	ok(err)
	if !slices.ContainsFunc(content, func(v *proxmox.StorageContent) bool { return strings.Contains(v.Volid, "vzdump-lxc-105-") }) {
		t.Error("the archive is not listed")
	}

	task, err = vm.Shutdown(ctx)
	ok(err)
	ok(task.Wait(ctx, time.Millisecond, time.Minute))
	ok(vm.Ping(ctx))
	if !vm.IsStopped() {
		t.Error("it runs")
	}
	task, err = vm.Start(ctx)
	ok(err)
	ok(task.Wait(ctx, time.Millisecond, time.Minute))
	ok(vm.Ping(ctx))
	if !vm.IsRunning() {
		t.Error("it does not run")
	}

	ok(px.NewPool(ctx, "spare", "by go-proxmox"))
	spare, err := px.Pool(ctx, "spare")
	ok(err)
	ok(spare.Update(ctx, &proxmox.PoolUpdateOption{VirtualMachines: "103"}))
	spare, err = px.Pool(ctx, "spare")
	ok(err)
	if len(spare.Members) != 1 || spare.Comment != "by go-proxmox" {
		t.Errorf("%+v", spare)
	}
	ok(spare.Update(ctx, &proxmox.PoolUpdateOption{VirtualMachines: "103", Delete: true}))
	ok(spare.Delete(ctx))

	if _, err := node.VirtualMachine(ctx, 999); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a guest that is not there: %v", err)
	}
}
