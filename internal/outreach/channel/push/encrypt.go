package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// maxPlain is what fits into the one record of 4,096 bytes that every push service takes (RFC 8291 section 4): less the header
// of RFC 8188 (salt 16, record size 4, length of the key 1, key 65), the delimiter and AES-GCM's tag of 16.
const maxPlain = 4096 - 16 - 4 - 1 - 65 - 1 - 16

// subscription is a browser's end: its public key and the secret it shares with us.
type subscription struct {
	key  *ecdh.PublicKey
	auth []byte // 16 bytes
}

// encrypt returns the body of a push request (RFC 8291, content coding aes128gcm of RFC 8188) that only the subscription's
// browser can read, with a key and a salt made for it. plain may have up to maxPlain bytes.
func encrypt(plain []byte, to subscription) ([]byte, error) {
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	return encryptWith(plain, to, own, salt)
}

// encryptWith is encrypt with a given key and salt, neither of which may be used twice.
func encryptWith(plain []byte, to subscription, own *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	if len(plain) > maxPlain {
		return nil, fmt.Errorf("%d bytes are more than the %d that a push message may have", len(plain), maxPlain)
	}
	shared, err := own.ECDH(to.key)
	if err != nil {
		return nil, fmt.Errorf("agree on a key: %w", err)
	}
	// RFC 8291 section 3.4, then RFC 8188 section 2.2 and 2.3. The first hkdf.Key is the RFC's PRK_key and IKM in one.
	info := "WebPush: info\x00" + string(to.key.Bytes()) + string(own.PublicKey().Bytes())
	ikm, err := hkdf.Key(sha256.New, shared, to.auth, info, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the input key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, fmt.Errorf("derive the content key: %w", err)
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, fmt.Errorf("derive the nonce: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	public := own.PublicKey().Bytes()
	out := append(make([]byte, 0, 4096), salt...)
	out = binary.BigEndian.AppendUint32(out, 4096)
	out = append(out, byte(len(public)))
	out = append(out, public...)
	last := append(append(make([]byte, 0, len(plain)+1), plain...), 2) // 2 ends the last record
	return gcm.Seal(out, nonce, last, nil), nil
}
