package userdb

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestParseUser(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for _, tc := range []struct {
		name, file string
		want       []User
	}{
		{"ordinary", "root:x:0:0:root:/root:/bin/bash\n", []User{{"root", "/root", "/bin/bash", 0, 0}}},
		{"no newline at the end", "a:x:1:2:A:/a:/bin/a", []User{{"a", "/a", "/bin/a", 1, 2}}},
		{"empty file", "", nil},
		{"comments and blank lines", "# a:x:1:1::/:/\n\n  \t\na:x:1:2:A:/a:/bin/a\n", []User{{"a", "/a", "/bin/a", 1, 2}}},
		{"blanks before the name", " \ta:x:1:2:A:/a:/bin/a\n", []User{{"a", "/a", "/bin/a", 1, 2}}},
		{"NIS lines", "+\n+::::::\n-bad:x:3:3::/:/\n+@group::::::\na:x:1:2:A:/a:/bin/a\n", []User{{"a", "/a", "/bin/a", 1, 2}}},
		{"empty home and shell", "a:x:1:2:::\n", []User{{"a", "/", "/bin/sh", 1, 2}}},
		{"fields missing at the end", "a:x:1:2\n", []User{{"a", "/", "/bin/sh", 1, 2}}},
		{"too few fields", "a:x:1\n", nil},
		{"no name", ":x:1:2::/:/bin/sh\n", nil},
		{"no number", "a:x::2::/:/bin/sh\n", nil},
		{"number with a sign", "a:x:+1:2::/:/bin/sh\nb:x:-1:2::/:/bin/sh\n", nil},
		{"number with a blank", "a:x: 1:2::/:/bin/sh\n", nil},
		{"number too large", "a:x:4294967296:2::/:/bin/sh\n", nil},
		{"uid of no change", "a:x:4294967295:2::/:/bin/sh\n", nil},
		{"gid of no change", "a:x:1:4294967295::/:/bin/sh\n", nil},
		{"largest number", "a:x:4294967294:2::/:/bin/sh\n", []User{{"a", "/", "/bin/sh", math.MaxUint32 - 1, 2}}},
		{"colon in the shell", "a:x:1:2::/:/bin/sh:x\n", []User{{"a", "/", "/bin/sh:x", 1, 2}}},
		{"carriage return", "a:x:1:2::/h:/bin/sh\r\n", []User{{"a", "/h", "/bin/sh", 1, 2}}},
		{"NUL", "a\x00b:x:1:2::/h:/bin/sh\n", nil},
		{"not UTF-8", "\xff\xfe:x:1:2::/\xff:/bin/sh\n", []User{{"\xff\xfe", "/\xff", "/bin/sh", 1, 2}}},
		{"long line", "a:x:1:2:" + long + ":/h:/bin/sh\nb:x:2:2::/:/bin/sh\n",
			[]User{{"a", "/h", "/bin/sh", 1, 2}, {"b", "/", "/bin/sh", 2, 2}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := parsePasswd([]byte(tc.file))
			if len(got.byName) != len(tc.want) {
				t.Fatalf("got %d entries %v, want %d", len(got.byName), got.byName, len(tc.want))
			}
			for i, u := range tc.want {
				if got.byName[u.Name] != u || got.byUID[u.UID] != u {
					t.Errorf("got %+v by name and %+v by number, want %+v", got.byName[u.Name], got.byUID[u.UID], u)
				}
				if i == 0 && got.first != u {
					t.Errorf("first entry is %+v, want %+v", got.first, u)
				}
			}
		})
	}
}

func TestFirstLineCounts(t *testing.T) {
	got := parsePasswd([]byte("toor:x:0:0::/toor:/bin/sh\nroot:x:0:0::/root:/bin/sh\nroot:x:7:7::/x:/bin/sh\n"))
	if got.byUID[0].Name != "toor" || got.byName["root"].UID != 0 {
		t.Errorf("uid 0 is %q, root has uid %d; want toor and 0", got.byUID[0].Name, got.byName["root"].UID)
	}
	if got.byUID[7].Name != "root" {
		t.Errorf("uid 7 is %q, want root", got.byUID[7].Name)
	}
}

func TestParseGroup(t *testing.T) {
	got := parseGroup([]byte(strings.Join([]string{
		"root:x:0:",
		"# wheel:x:10:alice",
		"+::0:alice",
		"adm:x:4:alice,bob",
		"dev:x:100: alice , carol,,",
		"dev:x:100:dave",
		"short:x:5",
		"bad:x:4294967295:alice",
		"worse:x:-1:alice",
		":x:9:alice",
	}, "\n")))
	if want := []string{"root", "adm", "dev", "short"}; !slices.Equal(got.order, want) {
		t.Errorf("groups %v, want %v", got.order, want)
	}
	for user, want := range map[string][]uint32{
		"alice": {4, 100}, "bob": {4}, "carol": {100}, "dave": {100}, "": nil, "root": nil,
	} {
		if !slices.Equal(got.members[user], want) {
			t.Errorf("groups of %q: %v, want %v", user, got.members[user], want)
		}
	}
}

func TestParseInitgroups(t *testing.T) {
	for _, tc := range []struct {
		name, user, out string
		want            []uint32
	}{
		{"ordinary", "alice", "alice                 4 24 1000\n", []uint32{4, 24, 1000}},
		{"none", "alice", "alice                \n", nil},
		{"the name is a number", "1000", "1000                  4\n", []uint32{4}},
		{"the name has a blank", "ann lee", "ann lee               4\n", []uint32{4}},
		{"no change", "alice", "alice 4294967295 4\n", []uint32{4}},
		{"somebody else", "alice", "bob 4\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := parseInitgroups([]byte(tc.out), tc.user); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseSwitch(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		want       bool
	}{
		{"empty", "", false},
		{"files", "group: files\n", false},
		{"compat", "passwd: compat sss\ngroup: compat # sss\n", false},
		{"sssd", "group: files sss\n", true},
		{"reaction", "group: files [NOTFOUND=return]\n", false},
		{"reaction with blanks", "group: files [ SUCCESS=merge TRYAGAIN=continue ]\n", false},
		{"after a reaction", "group: files [SUCCESS=merge] systemd\n", true},
		{"initgroups wins", "group: files sss\ninitgroups: files\n", false},
		{"other database", "passwd: files ldap\ngroup:files\n", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := parseSwitch([]byte(tc.file)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// FuzzParse feeds both parsers anything and checks that what comes out could be
// handed to setresuid(2) and chdir(2).
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"root:x:0:0:root:/root:/bin/bash\n", "+::::::\n-\n#\n", "a:x:1:2\r\n", ":::::::::", "a:x:4294967295:0::/:",
		"adm:x:4:alice,bob\nadm:x:4:,,\n", "\x00:\x00:0:0\n", "alice 4 5\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		users := parsePasswd(data)
		for name, u := range users.byName {
			if name == "" || name != u.Name || strings.ContainsAny(name, ":\n\x00") {
				t.Errorf("user name %q", name)
			}
			if u.Home == "" || u.Shell == "" || u.UID == math.MaxUint32 || u.GID == math.MaxUint32 {
				t.Errorf("user %+v", u)
			}
		}
		groups := parseGroup(data)
		for member, gids := range groups.members {
			if member == "" || slices.Contains(gids, math.MaxUint32) {
				t.Errorf("groups of %q: %v", member, gids)
			}
		}
		parseInitgroups(data, "alice")
		parseSwitch(data)
	})
}
