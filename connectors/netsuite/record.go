package netsuite

import (
	"fmt"
	"strings"

	"tributary/connectors"
)

// recordType is how rows of a record type are told apart and how their deletions are found.
type recordType struct {
	id, changed string // "" is what most have
	deleted     string // a condition on the table deletedrecord; "" = their deletion is not tracked
}

// Types of transactions and items, whose tables hold many: https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_N3497592.html
var (
	transactionTypes = strings.Fields(`assemblybuild assemblyunbuild binputawayworksheet bintransfer cashrefund cashsale check creditmemo customerdeposit
		customerpayment customerrefund deposit depositapplication estimate expensereport fulfillmentrequest inboundshipment intercompanyjournalentry
		intercompanytransferorder inventoryadjustment inventorycostrevaluation inventorycount inventorytransfer invoice itemfulfillment itemreceipt
		journalentry opportunity paycheck paycheckjournal purchasecontract purchaseorder purchaserequisition requestforquote returnauthorization
		revenuearrangement revenuecommitment revenuecommitmentreversal salesorder statisticaljournalentry transferorder vendorbill vendorcredit
		vendorpayment vendorprepayment vendorprepaymentapplication vendorreturnauthorization workorder workorderclose workordercompletion workorderissue`)
	itemTypes = strings.Fields(`assemblyitem descriptionitem discountitem downloaditem expenseitem giftcertificateitem inventoryitem itemgroup kititem
		lotnumberedassemblyitem lotnumberedinventoryitem markupitem noninventoryitem noninventorypurchaseitem noninventoryresaleitem
		noninventorysaleitem otherchargeitem otherchargepurchaseitem otherchargeresaleitem otherchargesaleitem paymentitem serializedassemblyitem
		serializedinventoryitem serviceitem servicepurchaseitem serviceresaleitem servicesaleitem subscriptionplan subtotalitem`)
)

// recordOf tells of a record type, named in lower case.
func recordOf(name string) recordType {
	switch {
	case name == "transaction":
		return recordType{deleted: deletedOf(transactionTypes...)}
	case name == "transactionline":
		return recordType{id: "uniquekey", changed: "linelastmodifieddate"}
	case name == "item":
		return recordType{deleted: deletedOf(itemTypes...)}
	case strings.HasPrefix(name, "customrecord"):
		return recordType{changed: "lastmodified", deleted: fmt.Sprintf("LOWER(scriptid) = '%s'", name)}
	}
	return recordType{deleted: deletedOf(name)}
}

// described are the streams that most want; the block may name any other record type.
func described() []connectors.Stream {
	var out []connectors.Stream
	for _, s := range [][2]string{
		{"customer", "Customers, leads and prospects."},
		{"contact", "Contacts."},
		{"vendor", "Vendors."},
		{"employee", "Employees."},
		{"item", "Items of every type."},
		{"transaction", "Orders, invoices, payments and all other transactions, without their lines."},
		{"transactionline", "Lines of transactions; deleted lines are not seen."},
		{"account", "Accounts of the ledger."},
	} {
		out = append(out, connectors.Stream{Name: s[0], Doc: s[1], Polls: true})
	}
	return out
}
