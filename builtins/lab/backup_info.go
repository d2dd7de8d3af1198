package lab

// getNotBackedUp lists the guests that no backup job has: all of them, since
// the lab has no jobs.
func getNotBackedUp(c *call) (any, error) {
	out := []obj{}
	for _, g := range c.st.Guests {
		if c.may(c.who, "/vms/"+g.id(), "VM.Audit") {
			out = append(out, obj{"vmid": g.VMID, "type": g.Type, "name": g.Name})
		}
	}
	return out, nil
}
