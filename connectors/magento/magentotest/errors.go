package magentotest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"tributary/connectors/connectortest/documented"
)

// Documented are the errors that a shop may return, to be given to New and looked at when all tests have run.
func Documented() *documented.Errors {
	return documented.New(slices.Collect(maps.Keys(messages))...)
}

// What the shop says, by which its errors are known, for they have no codes; and the status. In the order of the names:
// https://developer.adobe.com/commerce/webapi/get-started/gs-web-api-response/, https://developer.adobe.com/commerce/webapi/get-started/api-security/, and of OAuth
// https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Integration/Model/Oauth/Token/Provider.php,
// https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Integration/Model/Oauth/Nonce/Generator.php and
// https://github.com/magento/magento2/blob/2.4-develop/lib/internal/Magento/Framework/Oauth/Oauth.php
const (
	noRoute    = "Request does not match any route."
	denied     = "The consumer isn't authorized to access %resources."
	missing    = `"%fieldName" is required. Enter and try again.`
	wrongType  = `The "%value" value's type is invalid. The "%type" type was expected. Verify and try again.`
	failed     = "Internal Error. Details are available in Magento log file. Report ID: webapi-69a42b2c"
	tooLarge   = "Maximum SearchCriteria pageSize is %max"
	noConsumer = "A consumer having the specified key does not exist"
	noToken    = "Specified token does not exist"
	revoked    = "Access token has been revoked"
	badTime    = "Incorrect timestamp value in the oauth_timestamp parameter"
	usedNonce  = "The nonce is already being used by the consumer with ID 1"
	badSign    = "The signature is invalid. Verify and try again."
)

var messages = map[string]int{
	noRoute: http.StatusNotFound, denied: http.StatusUnauthorized, missing: http.StatusBadRequest, wrongType: http.StatusBadRequest,
	failed: http.StatusInternalServerError, tooLarge: http.StatusBadRequest, noConsumer: http.StatusUnauthorized, noToken: http.StatusUnauthorized,
	badTime: http.StatusUnauthorized, revoked: http.StatusUnauthorized, usedNonce: http.StatusUnauthorized, badSign: http.StatusUnauthorized,
}

// Fail refuses searches with what the shop says until it is called with "".
func (s *Server) Fail(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = message
}

// failure is an error answer.
type failure struct {
	status     int
	message    string
	parameters any
}

func (s *Server) refuse(w http.ResponseWriter, f *failure) {
	s.returned.Return(f.message)
	answer := map[string]any{"message": f.message}
	if f.parameters != nil {
		answer["parameters"] = f.parameters
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(answer)
}
