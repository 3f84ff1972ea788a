package push

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach/channeltest"
)

// RFC 8291, appendix A and section 5.
const (
	rfcPlain     = "When I grow up, I want to be a watermelon"
	rfcAuth      = "BTBZMqHH6r4Tts7J_aSIgg"
	rfcReceiver  = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
	rfcReceiver0 = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	rfcSender    = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
	rfcSalt      = "DGv6ra1nlYgDCS1FRnbzlw"
	rfcBody      = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

func bytesOf(t *testing.T, s string) []byte {
	t.Helper()
	b, err := b64.DecodeString(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

func TestRFC8291AppendixA(t *testing.T) {
	sub, err := parseSecret(rfcReceiver0 + "." + rfcAuth)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ecdh.P256().NewPrivateKey(bytesOf(t, rfcSender))
	if err != nil {
		t.Fatal(err)
	}
	got, err := encryptWith([]byte(rfcPlain), sub, own, bytesOf(t, rfcSalt))
	if err != nil {
		t.Fatal(err)
	}
	if want := bytesOf(t, rfcBody); !bytes.Equal(got, want) {
		t.Errorf("body\n%s, want\n%s", b64.EncodeToString(got), rfcBody)
	}
	private, err := ecdh.P256().NewPrivateKey(bytesOf(t, rfcReceiver))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := (&channeltest.Browser{Private: private, Auth: bytesOf(t, rfcAuth)}).Decrypt(bytesOf(t, rfcBody))
	if err != nil || string(plain) != rfcPlain {
		t.Errorf("the RFC's body reads %q, %v", plain, err)
	}
}

func TestEncryptedIsReadByTheBrowserAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := must(channeltest.NewBrowser())
		sub := must(parseSecret(b.Secret()))
		plain := rapid.SliceOfN(rapid.Byte(), 0, maxPlain).Draw(t, "plain")
		body, err := encrypt(plain, sub)
		if err != nil || len(body) != len(plain)+103 || len(body) > 4096 {
			t.Fatalf("%d bytes of %d, %v", len(body), len(plain), err)
		}
		if got, err := b.Decrypt(body); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("read %q, %v", got, err)
		}
		i := rapid.IntRange(0, len(body)-1).Draw(t, "i")
		if i >= 16 && i < 20 { // the record's size is not authenticated
			i = len(body) - 1
		}
		body[i] ^= 1
		if _, err := b.Decrypt(body); err == nil {
			t.Fatalf("read though byte %d was changed", i)
		}
	})
	if _, err := encrypt(make([]byte, maxPlain+1), must(parseSecret(browser.Secret()))); err == nil || maxPlain != 3993 {
		t.Errorf("SEC-16: %d bytes and one more were encrypted, %v", maxPlain, err)
	}
}

// verifyJWT checks a token as a push service does and returns its claims.
func verifyJWT(t *testing.T, header string) (c claims) {
	t.Helper()
	var jwt, key string
	if _, err := fmt.Sscanf(strings.ReplaceAll(header, ",", ""), "vapid t=%s k=%s", &jwt, &key); err != nil {
		t.Fatalf("%q: %v", header, err)
	}
	parts := strings.Split(jwt, ".")
	point, sig := bytesOf(t, key), bytesOf(t, parts[2])
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(sig) != 64 || !ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		t.Error("the signature is wrong")
	}
	if string(bytesOf(t, parts[0])) != `{"typ":"JWT","alg":"ES256"}` {
		t.Errorf("header %s", bytesOf(t, parts[0]))
	}
	if err := json.Unmarshal(bytesOf(t, parts[1]), &c); err != nil {
		t.Error(err)
	}
	return c
}

func TestVAPID(t *testing.T) {
	key := must(NewKey())
	ts := &tokens{key: key, contact: "mailto:care@example.org"}
	now := channeltest.Now
	first := must(ts.authorization("https://fcm.googleapis.com", now))
	c := verifyJWT(t, first)
	if c.Aud != "https://fcm.googleapis.com" || c.Sub != "mailto:care@example.org" || c.Exp <= now.Unix() || c.Exp > now.Add(24*time.Hour).Unix() {
		t.Errorf("claims %+v", c)
	}
	if must(ts.authorization("https://fcm.googleapis.com", now.Add(9*time.Hour))) != first {
		t.Error("the token was not kept")
	}
	if must(ts.authorization("https://web.push.apple.com", now)) == first {
		t.Error("one token for two services")
	}
	for _, d := range []time.Duration{11 * time.Hour, 24 * time.Hour, -time.Hour} { // near its end, past it, and made by a clock that was put back
		later := must(ts.authorization("https://fcm.googleapis.com", now.Add(d)))
		if exp := verifyJWT(t, later).Exp; exp != now.Add(d+tokenLife).Unix() {
			t.Errorf("after %v the token ends at %v", d, time.Unix(exp, 0))
		}
	}
	for i := range 3 * maxTokens {
		must(ts.authorization(fmt.Sprintf("https://%d.notify.windows.com", i), now))
	}
	if len(ts.kept) > maxTokens {
		t.Errorf("%d tokens are kept", len(ts.kept))
	}
}

func TestKeyIsKept(t *testing.T) {
	key := must(NewKey())
	again, err := ParseKey(must(key.Encode()))
	if err != nil || again.Public() != key.Public() || !again.private.Equal(key.private) {
		t.Errorf("%v, %v", again, err)
	}
	if s := fmt.Sprintf("%v %+v %#v", key, key, key); s != strings.TrimSpace(strings.Repeat("push key "+key.Public()+" ", 3)) {
		t.Errorf("SEC-18: printed as %s", s)
	}
	for _, bad := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := ParseKey([]byte(bad)); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

func TestParseSubscription(t *testing.T) {
	k, a, _ := strings.Cut(browser.Secret(), ".")
	text := func(endpoint, k, a string) string {
		return fmt.Sprintf(`{"endpoint":%q,"expirationTime":null,"keys":{"p256dh":%q,"auth":%q}}`, endpoint, k, a)
	}
	e, err := ParseSubscription([]byte(text("https://fcm.googleapis.com/fcm/send/x", k+"=", strings.NewReplacer("-", "+", "_", "/").Replace(a)+"==")))
	if want := (fleet.Endpoint{Channel: "push", Address: "https://fcm.googleapis.com/fcm/send/x", Secret: browser.Secret()}); err != nil || e != want {
		t.Errorf("%+v, %v", e, err)
	}
	off := bytesOf(t, k)
	off[64] ^= 1
	for _, bad := range []string{"", "{}", "[]", "null", text("", k, a), text("https://x", k, a+"AA"), text("https://x", k, ""), text("https://x", "", a), text("https://x", k[:80], a),
		text("https://x", b64.EncodeToString(off), a), text("https://x", b64.EncodeToString(make([]byte, 65)), a), text("https://x", a, k),
		text(strings.Repeat("x", maxEndpoint+1), k, a), strings.Repeat(" ", 2*maxEndpoint+1)} {
		if _, err := ParseSubscription([]byte(bad)); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParseSubscription(f *testing.F) {
	f.Add([]byte(`{"endpoint":"https://fcm.googleapis.com/x","keys":{"p256dh":"` + rfcReceiver0 + `","auth":"` + rfcAuth + `"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ParseSubscription(text)
		if err != nil {
			return
		}
		if _, err := encrypt([]byte("x"), must(parseSecret(e.Secret))); err != nil {
			t.Errorf("%q was taken: %v", text, err)
		}
	})
}

// FuzzCompose: whatever a message says, the payload fits and is read as what it was, as far as it goes.
func FuzzCompose(f *testing.F) {
	for _, s := range channeltest.Hostile() {
		f.Add(s, s, s, uint16(1))
	}
	f.Add("t", "b", "token", uint16(2000))
	f.Fuzz(func(t *testing.T, title, body, token string, times uint16) {
		n := int(times%2048) + 1
		m := channeltest.Message()
		m.Title, m.Body = title, strings.Repeat(body, min(n, 1+20000/(len(body)+1)))
		m.Actions[0].Token, m.URL, m.Receipt = strings.Repeat(token, min(n, 1+5000/(len(token)+1))), "https://x/"+title, token
		m.Locale, m.Collapse = title, body
		text, shortened := compose(m)
		var p payload
		if err := json.Unmarshal(text, &p); err != nil || len(text) > maxPayload || p.ID != m.ID {
			t.Fatalf("%d bytes, %v: %q", len(text), err, text)
		}
		if !shortened && p.Body != strings.ToValidUTF8(m.Body, "") {
			t.Errorf("%q reads as %q", m.Body, p.Body)
		}
		if !utf8.ValidString(p.Body) || !strings.HasPrefix(strings.ToValidUTF8(m.Body, ""), strings.TrimSuffix(p.Body, "…")) && shortened {
			t.Errorf("%q was shortened to %q", m.Body, p.Body)
		}
	})
}
