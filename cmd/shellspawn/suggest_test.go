package main

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"backlog", "doctor", "kill", "list", "serve", "status", "stop"}
	for word, want := range map[string]string{
		"statu": "status", "sttaus": "status", "ls": "list", "lsit": "list", "kil": "kill", "killl": "kill", "d": "doctor",
		"back": "backlog", "server": "serve", "stpo": "stop", "sta": "status",
		"": "", "s": "", "bash": "", "xyz": "", "restart": "", "k": "kill", "日本": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q is taken for %q, want %q", word, got, want)
		}
	}
}

func TestSlips(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"", "abc"}: 3, {"abc", ""}: 3, {"abc", "abc"}: 0, {"abc", "axc"}: 1, {"abc", "ac"}: 1, {"kitten", "sitting"}: 3,
	} {
		if got := slips(pair[0], pair[1]); got != want {
			t.Errorf("from %q to %q are %d, want %d", pair[0], pair[1], got, want)
		}
	}
}
