package webhook

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// TestSpecificationVector is the example of the Standard Webhooks specification and its libraries.
func TestSpecificationVector(t *testing.T) {
	keys, err := Keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
}

func TestKeys(t *testing.T) {
	key := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, good := range []string{key(24), key(64), key(32) + " " + key(24)} {
		if _, err := Keys(good); err != nil {
			t.Errorf("Keys(%q): %v", good, err)
		}
	}
	for _, bad := range []string{"", "   ", key(23), key(65), "whsec_%%", strings.TrimPrefix(key(32), prefix), key(24) + " " + key(24) + " " + key(24), key(24) + " x"} {
		_, err := Keys(bad)
		if err == nil {
			t.Errorf("Keys(%q) passed", bad)
		} else if bad != "" && len(bad) > 10 && strings.Contains(err.Error(), strings.TrimPrefix(bad, prefix)) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func TestWithoutSecretNothingIsSent(t *testing.T) {
	// No client: reaching for it would panic.
	err := New(nil, time.Now).Send(t.Context(), fleet.Message{}, fleet.Endpoint{Channel: "webhook", Address: "https://hook.example/"})
	if err == nil || !strings.Contains(err.Error(), "signing secret") {
		t.Errorf("%v", err)
	}
	var _ outreach.Channel = New(nil, time.Now)
}
