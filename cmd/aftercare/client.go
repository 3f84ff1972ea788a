package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"aftercare/internal/app"
	"aftercare/internal/config"
)

// client speaks to the API of a server that runs on this machine with the same settings.
type client struct {
	base  string
	token string
}

// newClient finds address and token in the settings and the data folder.
func newClient(cfg config.Config) (*client, error) {
	token, err := app.LinkToken(cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no server has run on the data folder %q: name its own with --data", cfg.Data)
	} else if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(cfg.Web.Listen)
	if err != nil {
		return nil, fmt.Errorf("web.listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return &client{base: "http://" + net.JoinHostPort(host, port) + "/api/v1", token: token}, nil
}

// callTimeout is long enough for an import of 10,000 devices.
const callTimeout = 2 * time.Minute

// call sends in (nil: nothing) and reads the answer into out (nil: nothing is wanted). What the server says about a mistake is the error.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		var refused *net.OpError
		if errors.As(err, &refused) {
			return fmt.Errorf("no server answers at %s: start it, or name its --web.listen and --data", c.base)
		}
		return fmt.Errorf("ask the server: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return problemOf(res.Status, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer of %s cannot be read: %w", c.base+path, err)
	}
	return nil
}

// problemOf makes an error of an application/problem+json answer.
func problemOf(status string, text []byte) error {
	var p struct {
		Detail string
		Errors []struct{ Message, Location string }
	}
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		return fmt.Errorf("the server answers %s", status)
	}
	for _, e := range p.Errors {
		p.Detail += fmt.Sprintf("; %s: %s", e.Location, e.Message)
	}
	return errors.New(p.Detail)
}
