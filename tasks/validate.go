package tasks

import (
	"errors"
	"reflect"
	"strings"

	"github.com/go-playground/locales/en"
	ut "github.com/go-playground/universal-translator"
	"github.com/go-playground/validator/v10"
	english "github.com/go-playground/validator/v10/translations/en"
)

// rules checks the `validate` tags of every payload, in English. Both values
// are safe for concurrent use.
var rules, words = newRules()

func newRules() (*validator.Validate, ut.Translator) {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _ := jsonName(f)
		return name
	})
	locale := en.New()
	translator, _ := ut.New(locale, locale).GetTranslator("en")
	if err := english.RegisterDefaultTranslations(v, translator); err != nil {
		panic("tasks: register the validator's English: " + err.Error())
	}
	return v, translator
}

// ownWords are reasons we put better than the validator, or that it lacks.
var ownWords = map[string]string{
	"required":         "is required",
	"url":              "must be a URL",
	"http_url":         "must be an http or https URL",
	"hostname":         "must be a host name",
	"hostname_rfc1123": "must be a host name",
}

// validate checks a payload, given by pointer, against its `validate` tags and
// names the first wrong field.
func validate(payload any) error {
	err := rules.Struct(payload)
	var all validator.ValidationErrors
	if err == nil {
		return nil
	}
	if !errors.As(err, &all) {
		return invalidf("", "%v", err)
	}
	first := all[0]
	reason, ok := ownWords[first.Tag()]
	if !ok {
		reason = strings.TrimPrefix(first.Translate(words), first.Field()+" ")
	}
	if reason == first.Error() { // no translation: the validator's own text names Go fields
		reason = "must satisfy " + strings.TrimSuffix(first.Tag()+"="+first.Param(), "=")
	}
	return invalidf(validatedField(payload, first), "%s", reason)
}

// validatedField writes the validator's "Payload.args[0]" as "args.0".
func validatedField(payload any, e validator.FieldError) string {
	path := strings.TrimPrefix(e.Namespace(), reflect.TypeOf(payload).Elem().Name()+".")
	return strings.NewReplacer("[", ".", "]", "").Replace(path)
}
