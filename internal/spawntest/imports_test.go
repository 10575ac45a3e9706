package spawntest_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed says which of our packages each of our packages may import. A package
// that is not listed, or an import that is not, fails the test: the map is
// changed on purpose or not at all.
var allowed = map[string][]string{
	"cmd/shellspawn":              {"internal/control", "internal/daemon", "internal/doctor"},
	"cmd/darling-shell":           {"internal/client"},
	"spawnsock":                   {"spawnsock/dial"},
	"spawnsock/dial":              {},
	"ptyexec":                     {"ptyexec/internal/startlimit"},
	"ptyexec/internal/startlimit": {},
	"internal/wire":               {},
	"internal/daemon":             {"internal/systemd", "internal/userdb", "internal/wire", "ptyexec", "spawnsock", "spawnsock/dial"},
	"internal/client":             {"internal/hint", "internal/selfpipe", "internal/tty", "internal/wire", "spawnsock/dial"},
	"internal/control":            {"internal/hint", "internal/wire", "spawnsock/dial"},
	"internal/hint":               {"spawnsock/dial"},
	"internal/doctor":             {"internal/control", "internal/systemd", "internal/wire", "ptyexec", "spawnsock", "spawnsock/dial"},
	"internal/selfpipe":           {},
	"internal/tty":                {},
	"internal/systemd":            {},
	"internal/userdb":             {"ptyexec"},
	"internal/spawntest":          {"internal/wire", "ptyexec", "spawnsock", "spawnsock/dial"},
	"internal/bench":              {"internal/spawntest", "internal/tty", "internal/wire", "spawnsock/dial"},
}

// onlyIn lists outside packages that have one place.
var onlyIn = map[string][]string{
	"github.com/spf13/pflag":       {"cmd/shellspawn"},
	"github.com/coreos/go-systemd": {"internal/systemd"},
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "shellspawn/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		name := strings.TrimPrefix(f[0], "shellspawn/")
		list, ok := allowed[name]
		if !ok {
			t.Errorf("package %s is not in the map", name)
		}
		for _, imported := range f[1:] {
			checkImport(t, name, imported, list)
		}
	}
}

func checkImport(t *testing.T, name, imported string, list []string) {
	t.Helper()
	if ours, ok := strings.CutPrefix(imported, "shellspawn/"); ok && !slices.Contains(list, ours) {
		t.Errorf("%s imports %s", name, ours)
	}
	for outside, places := range onlyIn {
		if strings.HasPrefix(imported, outside) && !slices.Contains(places, name) {
			t.Errorf("%s imports %s", name, imported)
		}
	}
}

// The client starts for every command: what it links is what every command pays.
func TestImportsOfClientStaySmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "shellspawn/cmd/darling-shell").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, heavy := range []string{"net", "fmt", "os/user", "os/exec", "log/slog", "encoding/json"} {
		if slices.Contains(deps, heavy) {
			t.Errorf("the client links %s", heavy)
		}
	}
}
