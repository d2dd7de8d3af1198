package selftest
import "testing"
func TestX(t *testing.T){}
