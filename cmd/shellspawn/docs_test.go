package main

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// These tests hold against each other what the programs take and what help, man
// pages, completions and README say that they take. Of darling-shell its --help
// stands for the program; a test there compares it with the table of flags.

// flagSet maps each flag, as -x or --name, to whether it takes a value.
type flagSet map[string]bool

// flagsOf maps each command to its flags.
type flagsOf map[string]flagSet

// none is the command of a program that has none.
const none = ""

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns what stands between two words.
func section(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, from)
	body, _, end := strings.Cut(rest, to)
	if !ok || !end {
		t.Fatalf("nothing between %q and %q", from, to)
	}
	return body
}

// realFlags asks the flag sets themselves.
func realFlags() flagsOf {
	real := make(flagsOf)
	for name := range commands {
		set := flagSet{"-h": false, "--help": false}
		flagSetOf(name).VisitAll(func(f *pflag.Flag) {
			if f.Shorthand != "" {
				set["-"+f.Shorthand] = f.NoOptDefVal == ""
			}
			if f.Name != f.Shorthand { // -s has no long form
				set["--"+f.Name] = f.NoOptDefVal == ""
			}
		})
		real[name] = set
	}
	return real
}

func flagSetOf(command string) *pflag.FlagSet {
	if command == "serve" {
		return serveFlags(&options{})
	}
	return new(controlFlags).set(command)
}

// kinds says which of the three lists of flags a command has. What is only for
// one command stands with the others and says so.
func kinds(serve, control, kill, every flagSet) flagsOf {
	all := make(flagsOf)
	for name := range commands {
		set := maps.Clone(control)
		if name == "serve" {
			set = maps.Clone(serve)
		}
		if name == "kill" {
			maps.Copy(set, kill)
		}
		maps.Copy(set, every)
		all[name] = set
	}
	return all
}

// split takes out of a list of flags those that only kill has.
func split(set flagSet) (control, kill flagSet) {
	control, kill = make(flagSet), make(flagSet)
	for flag, value := range set {
		if flag == "-s" || flag == "--signal" {
			kill[flag] = value
		} else {
			control[flag] = value
		}
	}
	return control, kill
}

var helpLine = regexp.MustCompile(`(?m)^ +((?:-\w, )?--[a-z-]+|-\w)( [A-Z=]+)?  +\S`)

func helpFlags(text string) flagSet {
	set := make(flagSet)
	for _, m := range helpLine.FindAllStringSubmatch(text, -1) {
		for _, flag := range strings.Split(m[1], ", ") {
			set[flag] = m[2] != ""
		}
	}
	return set
}

func helpOfDaemon(t *testing.T) flagsOf {
	control, kill := split(helpFlags(section(t, help, "Flags of the other commands:", "\n\n")))
	return kinds(helpFlags(section(t, help, "Flags of serve:", "\n\n")), control, kill,
		helpFlags(section(t, help, "Of every command:", "\n\n")))
}

// manLists returns the flags of each list in a manual page that has any.
func manLists(page string) (lists []flagSet) {
	item := regexp.MustCompile(`(?m)^\.It (Fl .*)$`)
	name := regexp.MustCompile(`Fl (Fl )?([\w-]+)`)
	for _, list := range strings.Split(page, ".Bl -tag")[1:] {
		set := make(flagSet)
		list, _, _ = strings.Cut(list, "\n.El")
		for _, m := range item.FindAllStringSubmatch(list, -1) {
			for _, f := range name.FindAllStringSubmatch(m[1], -1) {
				dash := "-"
				if f[1] != "" {
					dash = "--"
				}
				set[dash+f[2]] = strings.Contains(m[1], " Ar ")
			}
		}
		if len(set) > 0 {
			lists = append(lists, set)
		}
	}
	return lists
}

func manOfDaemon(t *testing.T) flagsOf {
	lists := manLists(readDoc(t, "dist/man/shellspawn.8"))
	if len(lists) != 3 {
		t.Fatalf("shellspawn.8 has %d lists of flags, want those of serve, of the other commands, and of all", len(lists))
	}
	control, kill := split(lists[1])
	return kinds(lists[0], control, kill, lists[2])
}

// bashArray returns the words of an array in a completion.
func bashArray(t *testing.T, script, name string) []string {
	t.Helper()
	return strings.Fields(section(t, script, "\n"+name+"=(", "\n)"))
}

// bashFlags returns the flags in an array; those that the completion knows how to
// continue take a value.
func bashFlags(t *testing.T, script, array string) flagSet {
	t.Helper()
	var valued []string
	for _, m := range regexp.MustCompile(`(?m)^    (-[^)]*)\)$`).FindAllStringSubmatch(script, -1) {
		valued = append(valued, strings.Split(m[1], " | ")...)
	}
	set := make(flagSet)
	for _, flag := range bashArray(t, script, array) {
		set[flag] = slices.Contains(valued, flag)
	}
	return set
}

func bashOfDaemon(t *testing.T) flagsOf {
	script := readDoc(t, "dist/completions/shellspawn.bash")
	return kinds(bashFlags(t, script, "_shellspawn_serve_flags"), bashFlags(t, script, "_shellspawn_control_flags"),
		bashFlags(t, script, "_shellspawn_kill_flags"), bashFlags(t, script, "_shellspawn_common_flags"))
}

// zshFlags reads the specifications that _arguments takes: one with a colon behind
// its description has a value.
func zshFlags(script string) flagSet {
	set := make(flagSet)
	spec := regexp.MustCompile(`(?m)^ *(?:'\([^)]*\)'|'\*')?(?:\{([^}]*)\}'|['"](?:\([^)]*\)|\*)?(-[\w-]+=?))\[[^]]*\](:?)`)
	for _, m := range spec.FindAllStringSubmatch(script, -1) {
		for _, flag := range strings.Split(m[1]+m[2], ",") {
			set[strings.TrimRight(flag, "=+")] = m[3] != ""
		}
	}
	return set
}

func zshOfDaemon(t *testing.T) flagsOf {
	script := readDoc(t, "dist/completions/_shellspawn")
	control := zshFlags(section(t, script, "_shellspawn_control() {", "\n}"))
	kill := zshFlags(section(t, script, "    kill)", ";;"))
	return kinds(zshFlags(section(t, script, "_shellspawn_serve() {", "\n}")), control, kill, nil)
}

var fishLine = regexp.MustCompile(`(?m)^complete -c \S+ (?:-n ('[^']*'|\S+) )?(?:-s (\S) ?)?(?:-l (\S+) ?)?(.*)$`)

// fishFlags reads the flags of a completion by the commands in their condition.
func fishFlags(script string) flagsOf {
	found := make(flagsOf)
	for _, m := range fishLine.FindAllStringSubmatch(script, -1) {
		in := []string{none}
		if condition, ok := strings.CutPrefix(strings.Trim(m[1], "'"), "__shellspawn_in "); ok {
			condition, _, _ = strings.Cut(condition, ";")
			in = strings.Fields(condition)
		}
		value := strings.HasPrefix(m[4], "-x") || strings.HasPrefix(m[4], "-r")
		for _, command := range in {
			if found[command] == nil {
				found[command] = make(flagSet)
			}
			if m[2] != "" {
				found[command]["-"+m[2]] = value
			}
			if m[3] != "" {
				found[command]["--"+m[3]] = value
			}
		}
	}
	return found
}

func fishOfDaemon(t *testing.T) flagsOf {
	found := fishFlags(readDoc(t, "dist/completions/shellspawn.fish"))
	for command, set := range found {
		if command != none {
			maps.Copy(set, found[none])
		}
	}
	delete(found, none)
	return found
}

// compare fails for each flag that is in one of the two alone, or takes a value in
// one alone.
func compare(t *testing.T, got, want flagsOf) {
	t.Helper()
	for command := range want {
		if got[command] == nil {
			t.Errorf("command %q is missing", command)
			continue
		}
		for flag, value := range want[command] {
			switch documented, ok := got[command][flag]; {
			case !ok:
				t.Errorf("%s: %s is missing", command, flag)
			case documented != value:
				t.Errorf("%s: %s takes a value: %v, want %v", command, flag, documented, value)
			}
		}
	}
	for command := range got {
		for flag := range got[command] {
			if _, ok := want[command][flag]; !ok {
				t.Errorf("%s: there is no flag %s", command, flag)
			}
		}
	}
}

// G4
func TestDocsFlagsOfDaemon(t *testing.T) {
	real := realFlags()
	for name, documented := range map[string]func(*testing.T) flagsOf{
		"help": helpOfDaemon, "man": manOfDaemon, "bash": bashOfDaemon, "zsh": zshOfDaemon, "fish": fishOfDaemon,
	} {
		t.Run(name, func(t *testing.T) { compare(t, documented(t), real) })
	}
}

// clientHelp is what darling-shell says of itself.
func clientHelp(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(spawntest.ClientPath(t), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// G4
func TestDocsFlagsOfClient(t *testing.T) {
	real := flagsOf{none: helpFlags(clientHelp(t))}
	lists := manLists(readDoc(t, "dist/man/darling-shell.1"))
	if len(lists) != 1 {
		t.Fatalf("darling-shell.1 has %d lists of flags, want one", len(lists))
	}
	bash := bashFlags(t, "\n"+readDoc(t, "dist/completions/darling-shell.bash"), "_darling_shell_flags")
	for name, got := range map[string]flagsOf{
		"man":  {none: lists[0]},
		"bash": {none: bash},
		"zsh":  {none: zshFlags(readDoc(t, "dist/completions/_darling-shell"))},
		"fish": fishFlags(strings.ReplaceAll(readDoc(t, "dist/completions/darling-shell.fish"), "-n __darling_shell_at_flags ", "")),
	} {
		t.Run(name, func(t *testing.T) { compare(t, got, real) })
	}
}

// G4: every command is named everywhere, and none that is not there.
func TestDocsCommands(t *testing.T) {
	real := slices.Sorted(maps.Keys(commands))
	find := func(text, expr string) (found []string) {
		for _, m := range regexp.MustCompile(expr).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		return found
	}
	manual := readDoc(t, "dist/man/shellspawn.8")
	synopsis := section(t, manual, ".Sh SYNOPSIS", ".Sh DESCRIPTION")
	described := section(t, manual, "The commands are as follows:", "\n.El")
	bash := readDoc(t, "dist/completions/shellspawn.bash")
	zsh := section(t, readDoc(t, "dist/completions/_shellspawn"), "commands=(", "\n  )")
	readme := section(t, readDoc(t, "README.md"), "| shellspawn | |", "\n\n")
	for name, got := range map[string][]string{
		"help":         find(section(t, help, "Commands:", "\n\n"), `(?m)^  ([a-z]+) `),
		"man synopsis": find(synopsis, `(?m)^\.(?:Op )?Cm ([a-z]+)`),
		"man":          find(described, `(?m)^\.It Cm ([a-z]+)`),
		"bash":         bashArray(t, bash, "_shellspawn_commands"),
		"zsh":          find(zsh, `'([a-z]+):`),
		"fish":         find(readDoc(t, "dist/completions/shellspawn.fish"), `__shellspawn_first -a ([a-z]+)`),
		"README":       find(readme, "`([a-z]+)[ `]"),
	} {
		slices.Sort(got)
		got = slices.Compact(got)
		if name == "README" { // where the same cells name other things too
			got = slices.DeleteFunc(got, func(word string) bool { return !slices.Contains(real, word) })
		}
		if !slices.Equal(got, real) {
			t.Errorf("%s names the commands %v, there are %v", name, got, real)
		}
	}
}

// G4: help and manual give the defaults that the flags have.
func TestDocsDefaults(t *testing.T) {
	manual := readDoc(t, "dist/man/shellspawn.8")
	serveFlags(&options{}).VisitAll(func(f *pflag.Flag) {
		switch f.DefValue {
		case "", "0", "false", "[]":
			return
		}
		line := regexp.MustCompile(`(?m)^.*--` + f.Name + ` .*\(` + f.DefValue + `\)$`)
		if !line.MatchString(help) {
			t.Errorf("the help does not end its line on --%s with (%s)", f.Name, f.DefValue)
		}
		item := section(t, manual, "\n.It Fl Fl "+f.Name+" ", "\n.It ")
		if !regexp.MustCompile(`The default is\s(?:\.Cm )?` + f.DefValue + `\b`).MatchString(item) {
			t.Errorf("the manual does not say that the default of --%s is %s", f.Name, f.DefValue)
		}
	})
}

// G3: the manual names each key of the JSON output.
func TestDocsJSONKeys(t *testing.T) {
	chapter := section(t, readDoc(t, "dist/man/shellspawn.8"), ".Sh JSON OUTPUT", "\n.Sh ")
	for _, v := range []any{wire.Status{}, wire.Row{}} {
		for _, key := range keysOfType(reflect.TypeOf(v)) {
			if !regexp.MustCompile(`(?m)^\.(?:It )?Li ` + key + `\b`).MatchString(chapter) {
				t.Errorf("%T: the manual does not name %s", v, key)
			}
		}
	}
}

// keysOfType lists the keys of a struct and of those in it.
func keysOfType(typ reflect.Type) (keys []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys = append(keys, name)
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOfType(f.Type)...)
		}
	}
	return keys
}

// B1, B2: help, manual and README list the same exit statuses.
func TestDocsExitStatus(t *testing.T) {
	statuses := func(text string) []string {
		found := regexp.MustCompile(`\b(?:128\+|[012]\b|12[5-9])`).FindAllString(text, -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	readme := section(t, readDoc(t, "README.md"), "## Exit status", "\n## ")
	ofClient, ofDaemon, _ := strings.Cut(readme, "`shellspawn` returns")
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"client help":   {section(t, clientHelp(t), "\nExit status:", "\n\n"), []string{"125", "126", "127", "128+", "2"}},
		"client manual": {section(t, readDoc(t, "dist/man/darling-shell.1"), ".Sh EXIT STATUS", ".El"), []string{"125", "126", "127", "128+", "2"}},
		"client README": {ofClient, []string{"125", "126", "127", "128+", "2"}},
		"daemon help":   {section(t, help, "\nExit status:", "\n"), []string{"0", "1", "2"}},
		"daemon manual": {section(t, readDoc(t, "dist/man/shellspawn.8"), ".Sh EXIT STATUS", ".El"), []string{"0", "1", "2"}},
		"daemon README": {ofDaemon, []string{"0", "1", "2"}},
	} {
		if got := statuses(row.text); !slices.Equal(got, row.want) {
			t.Errorf("%s names %v, want %v", name, got, row.want)
		}
	}
}

// foreign are long flags of other programs that the README shows.
var foreign = []string{"--now", "--workdir"}

// The README names no flag, no target of make, no file and no test that is not
// there.
func TestDocsReadme(t *testing.T) {
	readme := readDoc(t, "README.md")
	flags := helpFlags(clientHelp(t))
	for _, set := range realFlags() {
		maps.Copy(flags, set)
	}
	for _, flag := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(readme, -1) {
		if _, ok := flags[flag]; !ok && !slices.Contains(foreign, flag) {
			t.Errorf("there is no flag %s", flag)
		}
	}
	table := section(t, readme, "| darling-shell | |", "\n\n")
	for _, m := range regexp.MustCompile("`(-\\w)\\b").FindAllStringSubmatch(table, -1) {
		if _, ok := flags[m[1]]; !ok {
			t.Errorf("there is no flag %s", m[1])
		}
	}
	makefile := readDoc(t, "Makefile")
	for _, m := range regexp.MustCompile("(?:`|    )make ([a-z]+)").FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("there is no target %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`((?:internal/|cmd/)\\w[\\w/-]*|[a-z]+/[\\w/.-]+|spawnsock|ptyexec|dist)`").FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil && !strings.HasPrefix(m[1], "bin/") {
			t.Error(err)
		}
	}
	tests := testNames(t)
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(readme, -1) {
		if !slices.Contains(tests, name) {
			t.Errorf("there is no %s", name)
		}
	}
}

// testNames lists all tests in the tree.
func testNames(t *testing.T) (names []string) {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := fs.WalkDir(os.DirFS("../.."), ".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(readDoc(t, path), -1) {
				names = append(names, m[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// examples returns the command lines of this program that a text shows: those
// behind a prompt and those that stand indented.
func examples(text, program string) (lines [][]string) {
	text = regexp.MustCompile(`\\e\n *`).ReplaceAllString(text, "") // a line that goes on, in a manual
	shown := regexp.MustCompile(`(?m)^(?:\.Dl )?(?: {2,}|[$#] | {4}[$#] )` + program + `((?: [^ #|;&\n]+)*)`)
	for _, m := range shown.FindAllStringSubmatch(text, -1) {
		lines = append(lines, strings.Fields(m[1]))
	}
	return lines
}

// G4: the examples are accepted by the program, as far as that can be told from the
// command line alone.
func TestDocsExamples(t *testing.T) {
	var starts [][]string
	for _, path := range []string{"README.md", "dist/man/shellspawn.8", "dist/man/darling-shell.1"} {
		starts = append(starts, examples(readDoc(t, path), "shellspawn")...)
	}
	starts = append(starts, examples(section(t, help, "Examples:", "\n\n"), "shellspawn")...)
	if len(starts) < 8 {
		t.Errorf("only %d examples found: %q", len(starts), starts)
	}
	starts = append(starts, unitCommands(t)...)
	for _, args := range starts {
		name := "serve"
		if len(args) > 0 && args[0][0] != '-' {
			name, args = args[0], args[1:]
		}
		if commands[name] == nil {
			t.Errorf("%q: no such command", name)
			continue
		}
		if err := acceptable(name, args); err != nil {
			t.Errorf("%s %q: %v", name, args, err)
		}
	}
}

func acceptable(name string, args []string) error {
	if name == "serve" {
		_, err := parseServe(args)
		return err
	}
	var c controlFlags
	f := c.set(name)
	if err := parse(f, args); err != nil {
		return err
	}
	switch name {
	case "kill":
		return checkKill(&c, f.Args())
	case "backlog":
		return checkBacklog(&c, f.Args())
	}
	return noWords(&c, f.Args())
}

// unitCommands returns what the units start.
func unitCommands(t *testing.T) (lines [][]string) {
	t.Helper()
	units, err := filepath.Glob("../../dist/systemd/*.service")
	users, _ := filepath.Glob("../../dist/systemd/user/*.service")
	if err != nil || len(units) == 0 || len(users) == 0 {
		t.Fatalf("units: %v, %v, %v", units, users, err)
	}
	for _, path := range append(units, users...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^ExecStart=/\S+/shellspawn(.*)$`).FindAllStringSubmatch(string(text), -1) {
			lines = append(lines, strings.Fields(m[1]))
		}
	}
	return lines
}
