package devserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/temporalio/ui-server/v2/server"
	"github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/server_options"
)

// ui is Temporal's web UI.
type ui struct {
	server *server.Server
	url    string
	done   chan struct{} // closed when the server has ended
}

// startUI returns when the UI answers. The port is known to be free.
func startUI(ctx context.Context, ip string, port int, frontend, namespace string) (*ui, error) {
	host := ip
	if net.ParseIP(ip).To4() == nil {
		host = "[" + ip + "]" // the server puts a colon and the port behind it
	}
	u := &ui{
		server: server.NewServer(server_options.WithConfigProvider(&config.Config{
			TemporalGRPCAddress: frontend, Host: host, Port: port, EnableUI: true, DefaultNamespace: namespace, HideLogs: true,
			DisableNewsFetch: true,                              // nothing leaves the machine
			CORS:             config.CORS{CookieInsecure: true}, // it speaks plain HTTP
		})),
		url:  "http://" + net.JoinHostPort(reachable(ip), strconv.Itoa(port)),
		done: make(chan struct{}),
	}
	go func() {
		defer close(u.done)
		u.server.Start() // its errors end the process; closing it is none
	}()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if err := until(ctx, u.url, func() error { return answers(ctx, transport, u.url+"/healthz") }); err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

func (u *ui) close() {
	u.server.Stop()
	<-u.done
}

func answers(ctx context.Context, t http.RoundTripper, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := t.RoundTrip(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
