package wire

import "testing"

func TestParseSparkplugTopic(t *testing.T) {
	for s, want := range map[string]SparkplugTopic{
		"spBv1.0/demo/NBIRTH/HUB-1":       {Tenant: "demo", Kind: NBirth, Edge: "HUB-1"},
		"spBv1.0/demo/NDATA/HUB-1":        {Tenant: "demo", Kind: NData, Edge: "HUB-1"},
		"spBv1.0/demo/NDEATH/HUB-1":       {Tenant: "demo", Kind: NDeath, Edge: "HUB-1"},
		"spBv1.0/demo/DBIRTH/HUB-1/MOW-1": {Tenant: "demo", Kind: DBirth, Edge: "HUB-1", Device: "MOW-1"},
		"spBv1.0/demo/DDATA/HUB-1/MOW-1":  {Tenant: "demo", Kind: DData, Edge: "HUB-1", Device: "MOW-1"},
		"spBv1.0/demo/DDEATH/HUB-1/MOW-1": {Tenant: "demo", Kind: DDeath, Edge: "HUB-1", Device: "MOW-1"},
	} {
		if got, err := ParseSparkplugTopic(s); err != nil || got != want || got.String() != s {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, bad := range []string{
		"", "spBv1.0", "spBv1.0/", "spBv1.0/demo/NBIRTH", "spBv1.0/demo/NBIRTH/", "spBv1.0/demo/NBIRTH/a/b", "spBv1.0/demo/NBIRTH/a/", "spBv1.0/demo/DDATA/a",
		"spBv1.0/demo/DDATA/a/", "spBv1.0/demo/DDATA/a/b/c", "spBv1.0/demo/ndata/a", "spBv1.0/demo/NCMD/a", "spBv1.0/demo/DCMD/a/b", "spBv1.0/STATE/host",
		"spAv1.0/demo/NDATA/a", "spBv1.0/+/NDATA/a", "spBv1.0/demo/NDATA/#", "spBv1.0/de mo/NDATA/a", "spBv1.0/demo/NDATA/a,b=1", "spBv1.0//NDATA/a", "$share/g/spBv1.0/demo/NDATA/a",
	} {
		if got, err := ParseSparkplugTopic(bad); err == nil {
			t.Errorf("%q accepted as %+v", bad, got)
		}
	}
	if got, err := ParseSparkplugCommandTopic(RebirthTopic("demo", "HUB-1")); err != nil || got.Edge != "HUB-1" || got.Kind != NCommand {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseSparkplugCommandTopic("spBv1.0/demo/NDATA/HUB-1"); err == nil {
		t.Error("an edge node does not listen for data")
	}
}

func FuzzParseSparkplugTopic(f *testing.F) {
	f.Add("spBv1.0/demo/NBIRTH/HUB-1")
	f.Add("spBv1.0/demo/DDATA/HUB-1/MOW-1")
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := ParseSparkplugTopic(s)
		if err == nil && topic.String() != s {
			t.Errorf("%q read as %q", s, topic.String())
		}
	})
}
