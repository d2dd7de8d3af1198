package lab

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestParallelClients: many clients at once see an estate that is in order.
func TestParallelClients(t *testing.T) {
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockAuto})
	var all sync.WaitGroup
	for i, x := range []struct{ node, vmid string }{{"pve1", "100"}, {"pve1", "109"}, {"pve1", "111"}, {"pve2", "101"}, {"pve2", "105"}, {"pve3", "107"}} {
		all.Go(func() {
			a, err := c.try("POST", "/nodes/"+x.node+"/vzdump", "vmid", x.vmid, "storage", "backup", "compress", "zstd", "notes-template", fmt.Sprint(i))
			if err != nil || a.Status != 200 {
				t.Errorf("%s: %+v %v", x.vmid, a, err)
			}
			for _, path := range []string{"/cluster/resources", "/nodes/" + x.node + "/tasks", "/nodes/pve1/storage/backup/content", "/nosuch"} {
				if _, err := c.try("GET", path); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		})
	}
	all.Wait()
	for deadline := time.Now().Add(20 * time.Second); c.lab.running(); {
		if time.Now().After(deadline) {
			t.Fatal("tasks do not end")
		}
		c.do("GET", "/cluster/tasks")
	}
	for _, n := range []string{"pve1", "pve2", "pve3"} {
		for _, x := range get[[]taskStatus](c, "GET", "/nodes/"+n+"/tasks", "typefilter", "vzdump") {
			if x.Status != "OK" {
				t.Errorf("%+v", x)
			}
		}
	}
}

// TestCloseInTheMiddle: Close waits for nobody who only waits.
func TestCloseInTheMiddle(t *testing.T) {
	entered := make(chan struct{})
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockReal, Observe: func(Exchange) {}}, "api:GET /version=slow")
	get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "100", "storage", "backup")
	done := make(chan struct{})
	go func() {
		defer close(done)
		close(entered)
		c.try("GET", "/version") // ends somehow
	}()
	<-entered
	if err := c.lab.Close(); err != nil {
		t.Error(err)
	}
	<-done
	if _, err := c.try("GET", "/nodes"); err == nil {
		t.Error("it answers after Close")
	}
}
