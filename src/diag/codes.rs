//! The one list of diagnostic codes. Each has a page in `docs/errors/`, which `vic explain` prints.

/// A stable diagnostic code. `id` never changes meaning once released.
#[derive(Debug)]
pub struct Code {
    pub id: &'static str,
    /// What is wrong, in a few words, independent of the case at hand.
    pub title: &'static str,
    /// The page of documentation, in Markdown.
    pub page: &'static str,
    pub warning: bool,
}

impl PartialEq for Code {
    fn eq(&self, other: &Code) -> bool {
        self.id == other.id
    }
}

impl Eq for Code {}

macro_rules! codes {
    ($($name:ident $id:literal $kind:ident $title:literal;)*) => {
        impl Code {
            $(pub const $name: &'static Code = &Code {
                id: $id, title: $title, warning: codes!(@ $kind),
                page: include_str!(concat!("../../docs/errors/", $id, ".md")),
            };)*
        }
        /// Every code, in order.
        pub const ALL: &[&Code] = &[$(Code::$name),*];
    };
    (@ error) => { false };
    (@ warning) => { true };
}

codes! {
    // V01xx: syntax
    UNEXPECTED_TOKEN "V0101" error "a word or sign that does not fit here";
    UNEXPECTED_END "V0102" error "a line that ends too early";
    BAD_CHARACTER "V0103" error "a character that means nothing here";
    UNCLOSED_TEXT "V0104" error "quoted text without a closing quote";
    BRACKETS "V0105" error "brackets that do not match";
    CHAINED_COMPARISON "V0106" error "comparisons that are chained";
    IF_NEEDS_PARENTHESES "V0107" error "an `if` as an operand without parentheses";
    SEMICOLON "V0108" error "a semicolon at the end of a line";
    FOREIGN_ASSIGNMENT "V0109" error "an assignment sign of another language";
    FOREIGN_OPERATOR "V0110" error "an operator of another language";
    QUOTES "V0111" error "quotes other than straight double quotes";
    FOREIGN_BLOCK "V0112" error "a block around declarations";
    FOREIGN_DECLARATION "V0113" error "a type before a name";
    TARGET_INCREMENT "V0114" error "`target +=`";
    LOOP "V0115" error "a loop";
    LATENT_OR_OBSERVE "V0116" error "a distribution statement that does not say whether it is prior or data";
    NO_DECLARATION_WORD "V0117" error "a line that does not start with a declaration word";
    TILDE_OR_EQUALS "V0118" error "`~` and `=` confused, or missing";
    NUMBER_FORM "V0119" error "a number that is not written as one";
    NAME_FORM "V0120" error "a name that cannot be used";
    IF_FORM "V0121" error "an `if` without its `then` or `else`";
    HALF_OPEN_INTERVAL "V0122" error "an interval that is open at one end only";
    MISSING_TYPE "V0123" error "a column or parameter without a type";
    AXIS_FORM "V0124" error "a plate written in a form that it does not have";
    TABLE_NAME "V0125" error "a table without a name";
    COMMENT_SIGN "V0126" error "a comment sign of another language";
    EQUALS_SIGN "V0127" error "`=` inside an expression";
    TOO_DEEP "V0128" error "an expression that nests too deep";
    // V02xx: names
    DUPLICATE_NAME "V0201" error "a name declared twice";
    UNKNOWN_NAME "V0202" error "a name that is not declared";
    USED_BEFORE_DECLARED "V0203" error "a name used before it is declared";
    AMBIGUOUS_COLUMN "V0204" error "a column name of several tables";
    PLATE_AS_VALUE "V0205" error "a plate or table used as a value";
    FUNCTION_AS_VALUE "V0206" error "a function used without its arguments";
    UNKNOWN_FUNCTION "V0207" error "a function that is not declared";
    UNKNOWN_FIELD "V0208" error "a table or column that is not declared";
    UNKNOWN_PLATE "V0209" error "a plate that is not declared";
    UNKNOWN_TYPE "V0210" error "a type that does not exist";
    UNKNOWN_ATTRIBUTE "V0211" error "an attribute that does not exist or does not belong here";
    INDEX_NAME_TAKEN "V0212" error "an index name that hides another name";
    NOT_VISIBLE_IN_BODY "V0213" error "a model value in the body of a function";
    RECURSIVE_FUNCTION "V0214" error "a function that calls itself";
    KEY_AS_VALUE "V0215" error "a row label used as a number";
    DECLARED_TWICE "V0216" error "a second guide or fit";
    REPORT_OF_DATA "V0217" error "a report of data";
    TWO_KEYS "V0218" error "a table with two keys";
    DUPLICATE_LABEL "V0219" error "a label that stands twice";
    EXPANDS_TOO_FAR "V0220" error "functions that expand too far";
    // V03xx: plates and indices
    PLATE_MISMATCH "V0301" error "a value that varies over a plate the left side does not have";
    REDUCE_OVER_WHICH "V0302" error "a reduction without its plate";
    NOTHING_TO_REDUCE "V0303" error "a reduction of a value that does not vary";
    OVER_MISPLACED "V0304" error "`over` where nothing is reduced";
    NOT_AN_INDEX "V0305" error "an index that is a number";
    INDEX_OF_OTHER_PLATE "V0306" error "an index of another plate";
    TOO_MANY_INDICES "V0307" error "more indices than plates";
    UNKNOWN_LABEL "V0308" error "a label that the plate does not have";
    LABEL_FITS_SEVERAL "V0309" error "a label that fits several plates";
    BARE_MATRIX "V0310" error "a matrix without its indices";
    SAME_PLATE_TWICE "V0311" error "one plate twice without index names";
    MIXED_HEADS "V0312" error "names of one declaration with different plates";
    NOT_A_PLATE "V0313" error "a value where a plate is needed";
    JOINT_ON_INDEPENDENT "V0314" error "a joint distribution without `over`";
    OVER_ON_SCALAR "V0315" error "`over` with nothing joint";
    JOINT_WITHOUT_PLATE "V0316" error "a joint distribution with no plate to run over";
    BINDER_MISPLACED "V0317" error "an index name introduced where it cannot be";
    LIST_WITHOUT_PLATE "V0318" error "a list with no plate to run over";
    LIST_LENGTH "V0319" error "a list that does not fit its plate";
    VECTOR_WITHOUT_PLATE "V0320" error "several columns without a plate for them";
    INDEX_OUTSIDE "V0321" error "an index that leaves its plate";
    LAG_BEFORE_START "V0330" error "a lag that reaches before the first row";
    READ_AHEAD "V0331" error "a read of a row that is yet to come";
    LAG_SIZE "V0332" error "a lag that is not a known number of rows";
    WALK_COLUMN "V0333" error "a walk by or along what cannot order its rows";
    WALK_MISPLACED "V0334" error "an order or filter where it has no meaning";
    RECURRENCE_FORM "V0335" error "a definition by itself that no walk can compute";
    NOT_AN_INDEX_NAME "V0336" error "a row asked for by what is no index name";
    VECTOR_SOURCE "V0341" error "a vector column read from a single column";
    PLATE_SIZE "V0342" error "a plate size that is not a whole number known before fitting";
    PLATE_LABEL "V0343" error "a plate label that is not text";
    REFERENCE_LEVEL "V0344" error "a reference level that cannot be left out";
    // V04xx: types, supports, constraints
    SUPPORT_MISMATCH "V0401" error "an observation that the distribution cannot give";
    DOMAIN "V0402" error "an argument that may leave its domain";
    NOT_A_CONDITION "V0403" error "a number where a condition is needed";
    LATENT_CONDITION "V0404" error "a condition on a latent";
    INDEX_AS_NUMBER "V0405" error "an index used as a number";
    TEXT_AS_NUMBER "V0406" error "text used as a number";
    EMPTY_RANGE "V0407" error "a range that holds no value";
    CANNOT_TRUNCATE "V0408" error "a type narrower than a prior that cannot be cut";
    OBSERVE_LATENT "V0409" error "an observation of what is not data";
    PARAM_START "V0410" error "a starting value that cannot be used";
    CONST_NOT_CONSTANT "V0411" error "a constant that depends on data";
    RANGE_MISPLACED "V0412" error "a range on what is not a number";
    NOT_A_MATRIX "V0414" error "a whole matrix is needed";
    ORDERED_PRIOR "V0413" error "ordered values whose prior differs by element and depends on latents";
    ODE_SYSTEM "V0421" error "a system of equations in a form that `ode` does not take";
    ODE_TIMES "V0422" error "times of an `ode` that are not ascending data";
    MISSING_WITHOUT_MODEL "V0431" error "a column with missing cells and no model for them";
    MISSING_MODEL "V0432" error "a model that cannot fill missing cells";
    MISSING_KEY "V0433" error "a key with missing cells";
    // V05xx: distributions, guides, fit options
    UNKNOWN_DISTRIBUTION "V0501" error "a distribution that does not exist";
    NOT_A_DISTRIBUTION "V0502" error "something else where a distribution is needed";
    DIST_AS_VALUE "V0503" error "a distribution used as a value";
    WRONG_ARGUMENT_COUNT "V0504" error "too few or too many arguments";
    UNKNOWN_ARGUMENT "V0505" error "an argument name that does not exist";
    ARGUMENT_TWICE "V0506" error "an argument or option given twice";
    ARGUMENTS_CLASH "V0507" error "arguments that do not go together";
    NAMED_ARGUMENT_MISPLACED "V0508" error "a named argument where names mean nothing";
    DIST_WITHOUT_DENSITY "V0509" error "a distribution whose density is missing or not one number";
    NOISE_OUTSIDE_SAMPLE "V0510" error "a random draw outside `sample()`";
    CANNOT_NONCENTER "V0511" error "a distribution that cannot be noncentred";
    FLAT_OBSERVED "V0512" error "`flat()` as a likelihood";
    UNKNOWN_GUIDE "V0513" error "a guide that does not exist";
    UNKNOWN_FIT_OPTION "V0514" error "a fit option that does not exist";
    FIT_OPTION_VALUE "V0515" error "a fit option with an unusable value";
    UNKNOWN_DIST_ITEM "V0516" error "an item that a distribution does not have";
    DISCRETE_WITHOUT_END "V0530" error "a discrete latent without an end to its values";
    CANNOT_SUM_OUT "V0531" error "discrete latents that cannot be summed out";
    TOO_MANY_VALUES "V0532" error "discrete latents with too many values together";
    CANNOT_CENSOR "V0541" error "censoring that has no meaning here";
    // V06xx: not there yet
    // V0601 was "a discrete latent" and stays unused.
    // V0602 was "a distribution of a later version".
    NOT_YET_FUNCTION "V0603" error "a function of a later version";
    // V0604 was a lag.
    // V0605 was "a plate without one of its levels" and stays unused.
    NOT_YET_TYPE "V0606" error "a type of a later version";
    // V0607 was "missing cells of a discrete column" and stays unused.
    // V0608 was "a net" and stays unused.
    // V0609 was "a guide of a later version" and stays unused.
    // V0610 was "a fit option of a later version" and stays unused.
    // V0612 was "an array or a renamed value beside a table" and stays unused.
    // V063x: nets
    UNKNOWN_LAYER "V0630" error "a layer or activation that does not exist";
    NET_PLATES "V0631" error "plates of a net that do not connect";
    HEAD_MISPLACED "V0632" error "a net that does not end in its head";
    HEAD_SUPPORT "V0633" error "a head of a support that it cannot give";
    LAYER_SIZE "V0634" error "a number of units that is not known before fitting";
    NET_PARTS "V0635" error "several values of a net where one is needed";
    PIPE_OUTSIDE_NET "V0636" error "`|>` outside of a net";
    DROPOUT "V0637" error "a dropout that has no meaning";
    GUIDE_FLOW "V0638" error "a flow of a guide that cannot be";
    NET_PRIOR "V0639" error "a prior of weights that cannot be";
    AMORTISED "V0642" error "a guide that no net can be derived for";
    BATCH_TABLE "V0640" error "a batch that is of no plate";
    BATCH_WITH "V0641" error "options that do not go with batches";
    // V062x: written guides
    GUIDE_OF_OTHER "V0620" error "a line of a guide for what is no latent";
    GUIDE_TWICE "V0621" error "a latent that the guide draws twice";
    GUIDE_SUPPORT "V0622" error "a guide that draws values which its latent cannot have";
    GUIDE_INCOMPLETE "V0623" error "a guide that leaves a latent out";
    GUIDE_READS "V0624" error "a line of a guide that reads what it cannot know";
    GUIDE_GRADIENT "V0625" error "a draw of a guide without a gradient";
    GUIDE_FAMILY "V0626" error "a family of a guide that cannot be used so";
    JUMP "V0627" error "a density that jumps along a continuous latent";
    GUMBEL_TEMPERATURE "V0628" error "a relaxation without a temperature";
    // V085x: minibatches
    BATCH_TIED "V0850" error "batches of rows that are tied together";
    BATCH_SIZE "V0851" error "a batch larger than the data";
    BATCH_PAIRS "V0854" error "rows that belong to two members of a batch, or to none";
    ON_DISK "V0853" error "rows that have to be in memory together";
    LOSS_EXPLODED "V0852" error "steps that lead away from the posterior";
    // V07xx: data files
    DATA_NO_FILE "V0701" error "a table has no data file";
    DATA_EXTRA_FILE "V0702" error "a data file that no table takes";
    DATA_UNKNOWN_TABLE "V0703" error "a data file is given for a table that the model does not have";
    DATA_TABLE_TWICE "V0704" error "two data files are given for one table";
    DATA_NOT_TEXT "V0705" error "a data file is not CSV in UTF-8";
    DATA_EMPTY "V0706" error "a data file or column holds nothing";
    DATA_RAGGED "V0707" error "rows with more or fewer cells than the header";
    DATA_BLANK_LINE "V0708" error "an empty line between rows";
    DATA_NO_COLUMN "V0709" error "a declared column is not in the file";
    DATA_COLUMN_TWICE "V0710" error "a header names a column twice";
    DATA_NO_MATCH "V0711" error "a vector column finds no columns in the header";
    DATA_MISSING "V0712" error "missing cells";
    DATA_NOT_NUMBER "V0713" error "cells that are not of the declared type";
    DATA_NOT_WHOLE "V0714" error "whole numbers were declared, others found";
    DATA_OUT_OF_RANGE "V0715" error "cells outside the declared range";
    DATA_KEY_TWICE "V0716" error "a key that does not tell rows apart";
    DATA_NO_ROW "V0717" error "cells that name no row of another table";
    DATA_NO_LEVEL "V0718" error "cells that are not among the levels";
    DATA_LABELS "V0719" error "columns of a vector do not fit its plate";
    DATA_SET_UNKNOWN "V0720" error "--set names nothing that can be set";
    DATA_SET_VALUE "V0721" error "a --set value that does not fit";
    DATA_VALUE_MISSING "V0722" error "a data value is not given";
    DATA_CUTPOINTS "V0724" error "cutpoints that do not fit their levels";
    WALK_TIES "V0740" error "rows that a walk cannot order";
    NOT_FROM_DATA "V0723" error "a range or size that the data do not give";
    DATA_NOT_JSON "V0751" error "a JSON file that cannot be read";
    DATA_SHAPE "V0752" error "values whose number does not fit";
    DATA_NOT_COLUMNAR "V0753" error "a Parquet or Arrow file that cannot be read";
    DATA_COLUMN_TYPE "V0754" error "a column of a type that a cell does not have";
    CONSTANT_COLUMN "V0761" warning "a column that does not vary";
    LEVEL_NEVER_SEEN "V0762" warning "cells of a plate that no row names";
    PRIOR_AND_DATA "V0763" warning "a prior that is far from the data";
    CENTERED_FEW_ROWS "V0764" warning "groups with few rows that are centred";
    UNCENTERED_PREDICTOR "V0765" warning "a predictor far from 0 with independent guides";
    // V08xx: numbers at run time
    NONFINITE_START "V0801" error "a log joint that is not finite where the fit starts";
    NONFINITE_GRADIENT "V0802" error "a gradient that is not finite where the fit starts";
    NOT_POSITIVE_DEFINITE "V0803" error "a matrix that is not positive definite";
    ODE_FAILED "V0804" error "a differential equation that cannot be solved";
    FLAT_LATENT "V0805" error "a latent that nothing determines";
    SAMPLER_FAILED "V0806" error "a sampler that gave up";
    NONFINITE_MET "V0807" warning "a log joint that is not finite on the way of a fit";
    METHOD_WITHOUT_PARAMS "V0820" error "a method that does not fit params";
    METHOD_TOO_LARGE "V0821" error "a method that the model is too large for";
    MOVING_END "V0840" error "data that an end moving with an unknown may pass";
    NOT_CONJUGATE "V0880" error "a method that needs factors in closed form";
    EMPTY_COMPONENT "V0881" error "a component that no row is left to";
    UNBOUNDED_LIKELIHOOD "V0882" error "a likelihood without a maximum";
    NO_MAXIMUM "V0883" error "a param that no value is best for";
    IMPROPER_FACTOR "V0884" error "a factor that is no distribution";
    SINGULAR_FACTOR "V0885" error "a factor whose covariance is singular";
    ASCENT_NOT_FINITE "V0886" error "a bound that is not finite";
    NOTHING_TO_MAXIMISE "V0887" error "EM for a model without params";
    GUIDE_SIZE "V0830" error "a guide whose size is not a whole number";
    GUIDE_AND_METHOD "V0831" error "a guide that a method does not fit";
    // V09xx: flags and files
    OUT_EXISTS "V0901" error "the directory of --out holds a fit";
    OUT_OTHER_FILES "V0902" error "the directory of --out holds other files";
    OUT_NOT_A_DIRECTORY "V0903" error "--out does not name a directory";
    CANNOT_WRITE "V0904" error "a file cannot be written";
    CANNOT_READ "V0905" error "a file cannot be read";
    UNKNOWN_CODE "V0906" error "a code that does not exist";
    MODEL_NOT_FIRST "V0907" error "data stand where the model belongs";
    CANNOT_IMPORT "V0908" error "an imported file that cannot be read";
    IMPORT_CYCLE "V0909" error "files that import each other";
    NOT_IMPORTABLE "V0910" error "a declaration that cannot be imported";
    SIMULATE_NEEDS_DATA "V0911" error "a simulation without the data that it is conditioned on";
    CANNOT_SIMULATE "V0912" error "a statement that cannot be drawn from";
    NOT_A_FIT "V0913" error "a directory that holds no fit";
    FIT_OF_OTHER "V0914" error "a fit of another model or of other data";
    CANNOT_PREDICT "V0915" error "new rows that a fit cannot predict";
    FILE_EXISTS "V0916" error "a file that would be overwritten";
    BAD_CHECKPOINT "V0917" error "a checkpoint that a fit cannot use";
    ROWS_TIED "V0940" error "rows that cannot be looked at one by one";
    NOT_AMORTISED "V0941" error "a guide that says nothing of new rows";
    NO_ROW_LATENTS "V0942" error "rows without latents";
    ROWS_WITHOUT_COLUMN "V0943" error "new rows without an observed column";
    NO_EXPECTATION "V0944" error "columns without an expected value";
    CANNOT_IMPUTE "V0945" error "cells that cannot be filled in one by one";
    SHEET_WIDTH "V0946" error "images whose width does not divide their pixels";
    SHEET_OF_NUMBERS "V0947" error "a picture of what is no image";
    ROWS_NOT_FINITE "V0948" warning "rows whose result is not finite";
    NO_EDITOR "V0960" error "a conversation with an editor that broke off";
    // V1xxx: warnings
    LATENT_UNREACHED "V1001" warning "a latent that never reaches the data";
    UNUSED_COLUMN "V1002" warning "a column that is not used";
    UNUSED_LET "V1003" warning "a computed value that is not used";
    NOTHING_OBSERVED "V1004" warning "a model without data";
    MAY_LEAVE_DOMAIN "V1005" warning "an argument that may leave its domain";
    MIXTURE_PER_CELL "V1010" warning "a mixture per cell";
    ONE_FOR_ALL_ROWS "V1011" warning "a discrete latent that all rows share";
    UNSTABLE_IDIOM "V1012" warning "an expression that loses digits";
    UNUSED_PARAM "V1013" warning "a param that is not used";
    ALIASED "V1014" warning "unknowns of which only the sum is told";
    LABEL_SYMMETRY "V1015" warning "classes that can change places";
    WEAK_GUIDE "V1016" warning "a guide that leaves out what the priors tie";
    VARIANCE_AS_SCALE "V1017" warning "a variance where a standard deviation is needed";
    PRECISION_AS_SCALE "V1018" warning "a precision where a standard deviation is needed";
    DISCRETE_AS_REAL "V1019" warning "a discrete unknown in the place of a positive number";
    DENSITY_OF_TRUTH "V1020" warning "a density of yes and no";
    CODE_AS_NUMBER "V1021" warning "codes used as quantities";
    OBSERVED_TWICE "V1022" warning "data that are observed twice";
}
