package channeltest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// Browser is the receiving end of Web Push: the keys of a subscription, written from RFC 8291 without the sender's code.
type Browser struct {
	Private *ecdh.PrivateKey
	Auth    []byte
}

// NewBrowser makes a subscription's keys.
func NewBrowser() (*Browser, error) {
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	b := &Browser{Private: k, Auth: make([]byte, 16)}
	_, _ = rand.Read(b.Auth) // never fails
	return b, nil
}

// Secret is fleet.Endpoint.Secret of the subscription.
func (b *Browser) Secret() string {
	e := base64.RawURLEncoding
	return e.EncodeToString(b.Private.PublicKey().Bytes()) + "." + e.EncodeToString(b.Auth)
}

// Decrypt reads the body of a push request: one record of aes128gcm (RFC 8188) whose key id is the sender's public key.
func (b *Browser) Decrypt(body []byte) ([]byte, error) {
	if len(body) < 21 || len(body) < 21+int(body[20]) {
		return nil, errors.New("the header is cut off")
	}
	salt, size, id, record := body[:16], binary.BigEndian.Uint32(body[16:20]), body[21:21+int(body[20])], body[21+int(body[20]):]
	if int64(len(record)) > int64(size) {
		return nil, fmt.Errorf("%d bytes are more than one record of %d", len(record), size)
	}
	sender, err := ecdh.P256().NewPublicKey(id)
	if err != nil {
		return nil, fmt.Errorf("key id: %w", err)
	}
	shared, err := b.Private.ECDH(sender)
	if err != nil {
		return nil, err
	}
	prk, err := hkdf.Extract(sha256.New, shared, b.Auth)
	if err != nil {
		return nil, err
	}
	ikm, err := hkdf.Expand(sha256.New, prk, "WebPush: info\x00"+string(b.Private.PublicKey().Bytes())+string(id), 32)
	if err != nil {
		return nil, err
	}
	if prk, err = hkdf.Extract(sha256.New, ikm, salt); err != nil {
		return nil, err
	}
	key, err := hkdf.Expand(sha256.New, prk, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Expand(sha256.New, prk, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, record, nil)
	if err != nil {
		return nil, err
	}
	for i := len(plain) - 1; i >= 0; i-- { // padding of zeros behind the delimiter
		switch plain[i] {
		case 0:
		case 2:
			return plain[:i], nil
		default:
			return nil, errors.New("no delimiter of a last record")
		}
	}
	return nil, errors.New("no delimiter")
}
