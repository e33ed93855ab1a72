package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"

	"tributary/internal/vault"
	"tributary/workflows"
)

// refusing is a Temporal Service whose namespace is deleted just when a worker has started.
type refusing struct {
	workflowservice.UnimplementedWorkflowServiceServer
	operatorservice.UnimplementedOperatorServiceServer
}

func (refusing) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{}, nil
}

func (refusing) DescribeNamespace(context.Context, *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	return &workflowservice.DescribeNamespaceResponse{}, nil
}

func (refusing) ListSearchAttributes(context.Context, *operatorservice.ListSearchAttributesRequest) (*operatorservice.ListSearchAttributesResponse, error) {
	all := make(map[string]enums.IndexedValueType)
	for _, name := range []string{workflows.IntegrationAttribute.GetName(), workflows.UserAttribute.GetName(), workflows.HealthAttribute.GetName()} {
		all[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
	}
	return &operatorservice.ListSearchAttributesResponse{CustomAttributes: all}, nil
}

func (refusing) PollWorkflowTaskQueue(context.Context, *workflowservice.PollWorkflowTaskQueueRequest) (*workflowservice.PollWorkflowTaskQueueResponse, error) {
	return nil, serviceerror.ToStatus(serviceerror.NewNamespaceNotFound("default")).Err()
}

// A worker that Temporal takes no more gets no tasks ever again, so its process ends and says why, for whoever watches over it.
func TestEndsWhenTemporalTakesItNoMore(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, refusing{})
	operatorservice.RegisterOperatorServiceServer(server, refusing{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	dir := t.TempDir()
	worker, key := filepath.Join(dir, "worker"), filepath.Join(dir, "key.json")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", worker, "tributary/worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := vault.GenerateKeyFile(key); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // Temporal's client goes on asking for two
	defer cancel()
	c := exec.CommandContext(ctx, worker, "--role", "worker")
	c.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+listener.Addr().String(), "TRIBUTARY_DIR="+dir, "TRIBUTARY_KEY_FILE="+key)
	said, err := c.CombinedOutput()
	if code := c.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(said), "see that the namespace is there") || !strings.Contains(string(said), "default") {
		t.Errorf("%v, exit status %d\n%s", err, code, said)
	}
}
