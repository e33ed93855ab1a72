package workflows

import (
	"cmp"
	"errors"

	"go.temporal.io/sdk/temporal"

	"tributary/activities"
	"tributary/connectors"
)

// plain turns an activity's error into words for operators. Only a text that the activities wrote for that is shown: that of
// a panic or of any other Go error may quote a row, or a URL with a token in it (I7), so its type stands for it.
func plain(err error) string {
	var (
		timeout *temporal.TimeoutError
		app     *temporal.ApplicationError
		panicky *temporal.PanicError
	)
	switch {
	case errors.As(err, &timeout):
		return "the worker gave no answer in time (" + timeout.TimeoutType().String() + ")"
	case temporal.IsCanceledError(err):
		return "it was cancelled"
	case errors.As(err, &panicky):
		return "the worker failed in a way it should not (panic); its log says more"
	case errors.As(err, &app) && app.Type() == activities.CatalogErrorType:
		return connectors.Clip(app.Message(), 500)
	case errors.As(err, &app):
		return "the worker failed in a way it should not (" + connectors.Clip(cmp.Or(app.Type(), "error"), 100) + "); its log says more"
	}
	return "the worker failed in a way it should not; its log says more"
}
