package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// Addresses says where a dev stack listens. It is kept in the stack's directory, so that the next start takes the same ports.
type Addresses struct {
	Temporal  string `json:"temporal"`
	Namespace string `json:"namespace"`
	UI        string `json:"ui,omitempty"`
	Listen    string `json:"receiver"`
	OpsListen string `json:"ops"`
	PublicURL string `json:"public_url"`
	// Socket is where the stack answers commands of the same user on this machine.
	Socket string `json:"socket"`
}

const addressFile = "dev.json"

// ErrNoDev means that no dev stack runs in a directory.
var ErrNoDev = errors.New("no dev stack is running")

// FindDev asks the stack that runs in dir where it listens; ErrNoDev.
func FindDev(ctx context.Context, dir string) (Addresses, error) {
	last := lastAddresses(dir)
	if last.Socket == "" {
		return Addresses{}, fmt.Errorf("%w in %s", ErrNoDev, dir)
	}
	var a Addresses
	if err := askControl(ctx, last.Socket, "/addresses", nil, &a); err != nil {
		return Addresses{}, err
	}
	return a, nil
}

// lastAddresses are those of the last start in dir; none when there was none.
func lastAddresses(dir string) (a Addresses) {
	raw, err := os.ReadFile(filepath.Join(dir, addressFile))
	if err != nil || json.Unmarshal(raw, &a) != nil {
		return Addresses{}
	}
	return a
}

func (a Addresses) save(dir string) error {
	raw, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, addressFile), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("note the addresses: %w", err)
	}
	return nil
}

// sticky prefers the port of the last start to the default.
func sticky(want, otherwise, last int) int {
	if want == otherwise && last != 0 {
		return last
	}
	return want
}

// portOf reads the port of host:port or of a URL; 0 = none.
func portOf(address string) int {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return port
}

func freePort(what, ip string, want int, note func(string)) (int, error) {
	address, err := freeAddress(what, net.JoinHostPort(ip, strconv.Itoa(want)), note)
	return portOf(address), err
}

// freeAddress returns the address, with a port that is free, or with another port where that one is taken.
func freeAddress(what, want string, note func(string)) (string, error) {
	host, port, err := net.SplitHostPort(want)
	if err != nil {
		return "", fmt.Errorf("%s: %q is no address such as 127.0.0.1:8080", what, want)
	}
	l, err := net.Listen("tcp", want)
	if err != nil {
		if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		note(fmt.Sprintf("%s listens on port %d, because %s is taken.", what, portOf(l.Addr().String()), port))
	}
	defer l.Close()
	return net.JoinHostPort(host, strconv.Itoa(portOf(l.Addr().String()))), nil
}

// HadDev reports whether a dev stack was ever started in dir.
func HadDev(dir string) bool { return lastAddresses(dir).Temporal != "" }

// WorkflowURL is the page of an installation's workflow in the Temporal UI; "" without a UI. Without a run it is the latest one's.
func (a Addresses) WorkflowURL(id, run string) string {
	if a.UI == "" {
		return ""
	}
	page := a.UI + "/namespaces/" + url.PathEscape(a.Namespace) + "/workflows/" + url.PathEscape(id)
	if run != "" {
		page += "/" + url.PathEscape(run) + "/history"
	}
	return page
}
