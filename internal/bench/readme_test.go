package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUpdateReadme(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	before := "# Top\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\nBelow.\n"
	if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time must find what the first one left
		if err := updateReadme(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(before, "old", "new"); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUpdateReadmeWithoutMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	text := "<!-- bench:end --> before <!-- bench:begin -->\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := updateReadme(path, "new\n"); err == nil {
		t.Error("no error for a file without markers")
	}
	if got, _ := os.ReadFile(path); string(got) != text {
		t.Errorf("the file was changed to %q", got)
	}
}

func TestReadmeTable(t *testing.T) {
	b := &bench{machine: "Machine: m.", floor: floor{about: "C"}}
	b.summary.add("first", floorName, 1)
	b.summary.add("first", "ours", 1.234)
	b.summary.add("second", "ours", 2)
	b.summary.add("second", "peer", 0.5)
	b.summary.count("key echo p50", "ours", 1234.5)
	want := "Machine: m. The floor is C.\n\n" +
		"| ratio to the floor, or a count | to reach | ours | peer |\n| --- | ---: | ---: | ---: |\n" +
		"| first |  | 1.23 | – |\n| second |  | 2.00 | 0.50 |\n| key echo p50 | ≤ 1.10 | 1234.5 | – |\n"
	if got := b.readmeTable(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
