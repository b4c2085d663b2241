package registry

import (
	"errors"
	"maps"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The two patterns of the old refresh, and the rule of the old watch: what they make of a node name is what old readers call.
var (
	oldHost = regexp.MustCompile(`^\w+-([\w-]+:\d+)$`)
	oldIPv4 = regexp.MustCompile(`^\w+-([\d.]+:\d+)$`)
)

func oldWatch(node string) string { return node[strings.Index(node, "-")+1:] }

const id = "63c5ebd0d4954b25a46cca9d04c2c70f"

func TestMembersInEveryDialect(t *testing.T) {
	for _, test := range []struct {
		about, node, data string
		want              Endpoint
	}{
		{"what zk_register makes", id + "-127.0.0.1:23081", "127.0.0.1:23081", "127.0.0.1:23081"},
		{"a name in place of the address", id + "-web-1:80", "web-1:80", "web-1:80"},
		{"data of the caller's own", id + "-10.0.0.1:80", `{"version": 7}`, "10.0.0.1:80"},
		{"no data", id + "-web-1:80", "", "web-1:80"},
		{"upper case", strings.ToUpper(id) + "-web-1:80", "", "web-1:80"},
		{"any other word before the dash", "member1-10.0.0.1:80", "", "10.0.0.1:80"},
		{"a name with dots, which the old refresh drops and the old watch keeps", id + "-web-1.example.com:80", "", "web-1.example.com:80"},
		{"IPv6", id + "-[2001:db8::7]:80", "", "[2001:db8::7]:80"},
		{"IPv6 joined as IPv4 was", id + "-2001:db8::7:80", "", "[2001:db8::7]:80"},
		{"IPv6 at full length", id + "-2001:DB8:0:0:0:0:0:7:80", "", "[2001:db8::7]:80"},
		{"no dash", "10.0.0.1:80", "", "10.0.0.1:80"},
		{"no dash, a name", "web.example.com:80", "web.example.com:80", "web.example.com:80"},
		{"no prefix, but a dash in the name, and data to tell", "web-1:80", "web-1:80", "web-1:80"},
		{"the same without data, as old readers have it", "web-1:80", "", "1:80"},
		{"a UUID with dashes", "63c5ebd0-d495-4b25-a46c-ca9d04c2c70f-10.0.0.1:80", "", "10.0.0.1:80"},
		{"the same before a name with a dash", "63c5ebd0-d495-4b25-a46c-ca9d04c2c70f-web-1:80", "", "web-1:80"},
		{"several dashes before it, and data to tell", "blue-green-web-1.a:80", "web-1.a:80", "web-1.a:80"},
		{"data that tells of another", id + "-10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80"},
		{"data that tells of a part", id + "-web-1:80", "1:80", "web-1:80"},
		{"a newline behind the data", "a-web-1:80", "web-1:80\n", "web-1:80"},
	} {
		m, err := ParseMember(test.node, []byte(test.data))
		if err != nil || m.Endpoint != test.want || m.Node != test.node || m.Weight != 0 || m.Labels != nil {
			t.Errorf("%s: %s is %+v, %v; want %s", test.about, test.node, m, err, test.want)
		}
	}
}

func TestChildrenThatAreNoMembers(t *testing.T) {
	for _, node := range []string{
		"", "-", id, id + "-", id + "-10.0.0.1", id + "-10.0.0.1:0", id + "-10.0.0.1:99999", id + "-:80",
		id + "__lock__0000000003",       // kazoo's lock
		"_c_" + id + "-lock-0000000001", // go-zookeeper's
		id + "__party__0000000001",      // kazoo's other party
		"member_0000000012",             // a Finagle serverset's
		"prod.lock", "notes", id + "-../../etc/x:80", id + "-a b:80", id + "-10.0.0.1:80\n",
		strings.Repeat("x", 600) + "-10.0.0.1:80",
	} {
		if m, err := ParseMember(node, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %+v, %v", node, m, err)
		}
	}
}

func TestAMemberOfOursIsFoundByOldReaders(t *testing.T) {
	shape := regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}-`)
	for _, e := range []Endpoint{"10.0.0.1:80", "web-1:80", "web-1.example.com:80", "[2001:db8::7]:80"} {
		node := MemberNode(e)
		if !shape.MatchString(node) || node == MemberNode(e) {
			t.Errorf("%s is not a fresh UUID and an endpoint", node)
		}
		if got := oldWatch(node); got != string(e) {
			t.Errorf("the old watch takes %s for %s", node, got)
		}
		if m, err := ParseMember(node, nil); err != nil || m.Endpoint != e {
			t.Errorf("%s: %+v, %v", node, m, err)
		}
	}
	if got := oldIPv4.FindStringSubmatch(MemberNode("10.0.0.1:80")); got == nil || got[1] != "10.0.0.1:80" {
		t.Errorf("the old refresh finds %v", got)
	}
	if got := oldHost.FindStringSubmatch(MemberNode("web-1:80")); got == nil || got[1] != "web-1:80" {
		t.Errorf("the old refresh finds %v", got)
	}
}

func TestWeightAndLabelsAreASecondLineOfTheData(t *testing.T) {
	m := Member{Node: id + "-10.0.0.1:80", Endpoint: "10.0.0.1:80", Weight: 3, Labels: map[string]string{"zone": "a", "k8s.io/pod": "web 1"}}
	data, err := FormatMember(m)
	if want := "10.0.0.1:80\n{\"labels\":{\"k8s.io/pod\":\"web 1\",\"zone\":\"a\"},\"weight\":3}"; err != nil || string(data) != want {
		t.Fatalf("%s, %v; want %s", data, err, want)
	}
	back, err := ParseMember(m.Node, data)
	if err != nil || back.Endpoint != m.Endpoint || back.Weight != 3 || !maps.Equal(back.Labels, m.Labels) {
		t.Errorf("%+v, %v", back, err)
	}
	plain, err := FormatMember(Member{Endpoint: "10.0.0.1:80"})
	if err != nil || string(plain) != "10.0.0.1:80" {
		t.Errorf("without either it is %q, %v: not what old registrars write", plain, err)
	}
}

func TestAMemberThatCannotBeWrittenSaysWhy(t *testing.T) {
	many := map[string]string{}
	long := map[string]string{}
	for i := range 33 {
		many[string(rune('A'+i))] = ""
		if i < 20 {
			long[string(rune('a'+i))] = strings.Repeat("x", 255)
		}
	}
	for about, test := range map[string]struct {
		member Member
		want   error
	}{
		"no endpoint":      {Member{}, ErrInvalid},
		"negative weight":  {Member{Endpoint: "a:1", Weight: -1}, ErrInvalid},
		"too heavy":        {Member{Endpoint: "a:1", Weight: 65536}, ErrInvalid},
		"empty label":      {Member{Endpoint: "a:1", Labels: map[string]string{"": "x"}}, ErrInvalid},
		"label with blank": {Member{Endpoint: "a:1", Labels: map[string]string{"a b": "x"}}, ErrInvalid},
		"two lines":        {Member{Endpoint: "a:1", Labels: map[string]string{"a": "x\ny"}}, ErrInvalid},
		"not UTF-8":        {Member{Endpoint: "a:1", Labels: map[string]string{"a": "\xff"}}, ErrInvalid},
		"33 labels":        {Member{Endpoint: "a:1", Labels: many}, ErrTooLarge},
		"5 KB of labels":   {Member{Endpoint: "a:1", Labels: long}, ErrTooLarge},
	} {
		if data, err := FormatMember(test.member); !errors.Is(err, test.want) {
			t.Errorf("%s: %q, %v", about, data, err)
		}
	}
}

func TestBadAttributesDoNotCostAMemberItsPlace(t *testing.T) {
	for _, test := range []struct {
		data   string
		weight int
		zone   string
	}{
		{"a:1\n{", 0, ""},
		{"a:1\n[]", 0, ""},
		{"a:1\nnull", 0, ""},
		{"a:1\n{\"weight\": -4, \"labels\": {\"zone\": \"b\"}}", 0, "b"},
		{"a:1\n{\"weight\": 70000}", 0, ""},
		{"a:1\n{\"weight\": 2.5, \"labels\": {\"zone\": \"b\"}}", 0, "b"},
		{"a:1\n{\"weight\": 2, \"labels\": 7}", 2, ""},
		{"a:1\n{\"weight\": 2, \"labels\": {\"zone\": 7}}", 2, ""},
		{"a:1\n{\"weight\": 2, \"labels\": {\"bad key\": \"x\", \"zone\": \"b\"}, \"new\": 1}\n", 2, "b"},
		{"a:1\n{\"weight\": 2, \"labels\": {\"zone\": \"" + strings.Repeat("x", 5000) + "\"}}", 0, ""},
	} {
		m, err := ParseMember(id+"-a:1", []byte(test.data))
		if err != nil || m.Endpoint != "a:1" || m.Weight != test.weight || m.Labels["zone"] != test.zone {
			t.Errorf("%.80q: %+v, %v", test.data, m, err)
		}
	}
}

func TestEveryMemberReadsBack(t *testing.T) {
	endpoints := rapid.OneOf(
		rapid.StringMatching(`(25[0-5]|1?[0-9])\.0\.0\.[1-9]:[1-9][0-9]{0,3}`),
		rapid.StringMatching(`[a-z][a-z0-9_-]{0,20}(\.[a-z][a-z0-9-]{0,10}){0,3}:[1-9][0-9]{0,3}`),
		rapid.StringMatching(`\[2001:db8::[1-9a-f]{1,4}\]:[1-9][0-9]{0,3}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		e, err := ParseEndpoint(endpoints.Draw(t, "endpoint"))
		if err != nil {
			t.Fatal(err)
		}
		m := Member{
			Node: MemberNode(e), Endpoint: e, Weight: rapid.IntRange(0, MaxWeight).Draw(t, "weight"),
			Labels: rapid.MapOfN(rapid.StringMatching(`[a-z./]{1,9}`), rapid.StringMatching(`[ -~\x{e9}\x{1f600}]{0,9}`), 0, 5).Draw(t, "labels"),
		}
		data, err := FormatMember(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseMember(m.Node, data)
		if err != nil || back.Endpoint != e || back.Weight != m.Weight || !maps.Equal(back.Labels, m.Labels) {
			t.Fatalf("%+v came back as %+v, %v", m, back, err)
		}
	})
}

func FuzzParseMember(f *testing.F) {
	f.Add(id+"-127.0.0.1:23081", []byte("127.0.0.1:23081"))
	f.Add("web-1:80", []byte("web-1:80"))
	f.Add("63c5ebd0-d495-4b25-a46c-ca9d04c2c70f-::1:80", []byte("::1:80\n{\"weight\": 1}"))
	f.Add(id+"__lock__0000000003", []byte{})
	f.Fuzz(func(t *testing.T, node string, data []byte) {
		m, err := ParseMember(node, data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", node, err)
			}
			return
		}
		if e, err := ParseEndpoint(string(m.Endpoint)); err != nil || e != m.Endpoint {
			t.Errorf("%q is at %q: %v", node, m.Endpoint, err)
		}
		again, err := FormatMember(m)
		if err != nil {
			return // labels that fit the old data may not fit beside the new spelling of the endpoint
		}
		back, err := ParseMember(MemberNode(m.Endpoint), again)
		if err != nil || back.Endpoint != m.Endpoint || back.Weight != m.Weight || !maps.Equal(back.Labels, m.Labels) {
			t.Errorf("%+v came back as %+v, %v", m, back, err)
		}
		// Without data we find what the old watch finds, but for UUIDs with dashes, which mislead it.
		_, dashed := cutUUID(node)
		plain, err := ParseMember(node, nil)
		if old, oldErr := storedEndpoint(oldWatch(node)); !dashed && (err == nil) != (oldErr == nil) || !dashed && old != plain.Endpoint {
			t.Errorf("%q is at %q, %v; for old readers at %q, %v", node, plain.Endpoint, err, old, oldErr)
		}
	})
}
