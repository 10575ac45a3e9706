package wire_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"shellspawn/internal/wire"
)

// chapter is the text of PROTOCOL.md between a heading and the next one of any
// level.
func chapter(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("PROTOCOL.md has no heading %q", heading)
	}
	end := regexp.MustCompile(`(?m)^##+ `).FindStringIndex(rest)
	if end == nil {
		return rest
	}
	return rest[:end[0]]
}

// rows are the cells of the tables in a text, without their headings.
func rows(text string) (list [][]string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "| ---") {
			list = list[:max(0, len(list)-1)]
		} else if strings.HasPrefix(line, "|") {
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			list = append(list, cells)
		}
	}
	return list
}

// constants are the names of those in a file that begin with prefix.
func constants(t *testing.T, file, prefix string) (names []string) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, name := range spec.Names {
				if strings.HasPrefix(name.Name, prefix) {
					names = append(names, name.Name)
				}
			}
		}
		return true
	})
	return names
}

// kinds are those that PROTOCOL.md lists, by name.
func kinds(t *testing.T) map[string]wire.Kind {
	t.Helper()
	list := map[string]wire.Kind{}
	for _, row := range rows(chapter(t, "### Kinds")) {
		n, err := strconv.ParseUint(row[0], 0, 16)
		if err != nil {
			t.Fatal(err)
		}
		list[row[1]] = wire.Kind(n)
	}
	return list
}

// Every kind in the code is in PROTOCOL.md, with its number, and the reverse.
func TestDocsKinds(t *testing.T) {
	code := map[string]wire.Kind{
		"start": wire.KindStart, "signal": wire.KindSignal, "hangup": wire.KindHangup, "control": wire.KindControl,
		"started": wire.KindStarted, "error": wire.KindError, "exited": wire.KindExited, "ack": wire.KindAck, "reply": wire.KindReply,
	}
	if doc := kinds(t); !reflect.DeepEqual(doc, code) {
		t.Errorf("PROTOCOL.md lists %v, the code has %v", doc, code)
	}
	for _, name := range constants(t, "frame.go", "Kind") {
		if _, ok := code[strings.ToLower(strings.TrimPrefix(name, "Kind"))]; !ok && name != "Kind" {
			t.Errorf("nothing is known of %s here", name)
		}
	}
}

// sample is a value of a field that its receiver accepts.
func sample(f []string) []byte {
	switch f[1] {
	case "u32":
		return []byte{1, 0, 0, 0}
	case "text":
		return []byte("x")
	case "list":
		return []byte("x\x00")
	case "terminal":
		return make([]byte, 8)
	}
	return nil
}

// The fields of each message are those of PROTOCOL.md, required where it says
// so, and there where it says "always"; its receiver knows them all.
func TestDocsFields(t *testing.T) {
	for name, kind := range kinds(t) {
		doc := map[string]bool{}
		for _, row := range rows(chapter(t, fmt.Sprintf("### %#x %s", uint16(kind), name))) {
			if row[0] == "" || row[0][0] >= '0' && row[0][0] <= '9' {
				continue // the causes
			}
			doc[row[0]] = row[2] == "required"
			if _, err := parse(kind, payloadOf([]rawField{{row[0], true, sample(row)}})); err != nil && strings.Contains(err.Error(), "not known") {
				t.Errorf("%s: field %s is not known to its receiver", name, row[0])
			}
		}
		code := map[string]bool{}
		for _, m := range full[kind] {
			if kind == wire.KindReply {
				continue
			}
			for _, f := range fields(t, message(m)[8:]) {
				code[f.name] = f.required
			}
		}
		if !reflect.DeepEqual(doc, code) {
			t.Errorf("%s: PROTOCOL.md has the fields %v, the code sends %v", name, doc, code)
		}
	}
}

// The causes of an end.
func TestDocsCauses(t *testing.T) {
	n := 0
	for _, row := range rows(chapter(t, "### 0x203 exited")) {
		if i, err := strconv.Atoi(row[0]); err == nil {
			if got := wire.Cause(i).String(); got != row[1] {
				t.Errorf("cause %d is %q, PROTOCOL.md says %q", i, got, row[1])
			}
			n++
		}
	}
	if got := len(constants(t, "messages.go", "Cause")); n != got {
		t.Errorf("PROTOCOL.md lists %d causes, the code has %d", n, got)
	}
}

// The limits.
func TestDocsLimits(t *testing.T) {
	code := map[string]int{
		"MaxMessage": wire.MaxMessage, "MaxLater": wire.MaxLater, "MaxReply": wire.MaxReply,
		"MaxStrings": wire.MaxStrings, "MaxDescriptors": wire.MaxDescriptors,
	}
	doc := map[string]int{}
	for _, row := range rows(chapter(t, "## 8. Limits and versions")) {
		doc[row[0]], _ = strconv.Atoi(row[1]) // 0 will differ
	}
	if !reflect.DeepEqual(doc, code) {
		t.Errorf("PROTOCOL.md lists %v, the code has %v", doc, code)
	}
	for _, name := range append(constants(t, "frame.go", "Max"), constants(t, "reply.go", "Max")...) {
		if _, ok := code[name]; !ok {
			t.Errorf("nothing is known of %s here", name)
		}
	}
}

// The opening, byte by byte.
func TestDocsOpening(t *testing.T) {
	b := wire.AppendControl(nil, wire.Hello{Version: wire.Version}, wire.Control{Command: "x"})[:20]
	for _, row := range rows(chapter(t, "## 3. Opening")) {
		at, err := strconv.Atoi(row[0])
		if err != nil {
			t.Fatal(err)
		}
		size := map[string]int{"u16": 2, "u32": 4}[row[1]]
		var got uint64
		for i := range size {
			got |= uint64(b[at+i]) << (8 * i)
		}
		if want, err := strconv.ParseUint(row[2], 0, 32); err == nil && got != want {
			t.Errorf("offset %d is %#x, PROTOCOL.md says %#x", at, got, want)
		}
	}
}

// The commands of the old dialect.
func TestDocsLegacyCommands(t *testing.T) {
	code := map[string]wire.LegacyCommand{
		"ADDARG": wire.LegacyAddArg, "SETENV": wire.LegacySetEnv, "CHDIR": wire.LegacyChdir, "GO": wire.LegacyGo,
		"SIGNAL": wire.LegacySignal, "SETUIDGID": wire.LegacySetUIDGID, "SETEXEC": wire.LegacySetExec,
	}
	doc := map[string]wire.LegacyCommand{}
	for _, row := range rows(chapter(t, "## 9. The old dialect")) {
		if row[1] == "u16" || row[1] == "" {
			continue // the header
		}
		n, _ := strconv.ParseUint(row[0], 10, 16) // 0 will differ
		doc[row[1]] = wire.LegacyCommand(n)
	}
	if !reflect.DeepEqual(doc, code) {
		t.Errorf("PROTOCOL.md lists %v, the code has %v", doc, code)
	}
}

// The keys of replies are those of the types that make them.
func TestDocsReplies(t *testing.T) {
	text := strings.Join(strings.Fields(chapter(t, "## 7. Control commands")), " ")
	for _, v := range []any{wire.Status{}, []wire.Row{}, []wire.Killed{}, wire.Backlog{}, wire.Limits{}, wire.Stopping{}, wire.Queue{}, wire.Shells{}} {
		kind := reflect.TypeOf(v)
		if kind.Kind() == reflect.Slice {
			kind = kind.Elem()
		}
		var keys []string
		for i := range kind.NumField() {
			keys = append(keys, kind.Field(i).Tag.Get("json"))
		}
		if want := "`" + strings.Join(keys, " ") + "`"; !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md does not list %s of %s", want, kind)
		}
	}
}
