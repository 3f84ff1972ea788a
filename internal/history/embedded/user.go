//go:build !slim

package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/influxdata/influxdb/services/meta"
)

const userName = "aftercare"

// ensureUser returns the token in the file at path and makes sure that the user it names exists. Without the file, or
// without the user, both are made anew: whoever can write the folder owns the data anyway.
func ensureUser(mc *meta.Client, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the token: %w", err)
	}
	_, err = mc.User(userName)
	known := err == nil
	token := strings.TrimSpace(string(b))
	if password, ok := strings.CutPrefix(token, userName+":"); ok && password != "" {
		if known {
			return token, nil
		}
		return token, setPassword(mc, password, known)
	}
	password := rand.Text()
	token = userName + ":" + password
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the token: %w", err)
	}
	return token, setPassword(mc, password, known)
}

func setPassword(mc *meta.Client, password string, known bool) error {
	var err error
	if known {
		err = mc.UpdateUser(userName, password)
	} else {
		_, err = mc.CreateUser(userName, password, true)
	}
	if err != nil {
		return fmt.Errorf("set the password of %q: %w", userName, err)
	}
	return nil
}
